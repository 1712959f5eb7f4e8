/*-------------------------------------------------------------------------
 *
 * qam_siphash.c
 *	  SipHash-2-4, a hash with a secret key.
 *
 * The hashes of PostgreSQL are made to be fast: those who choose the input can
 * choose the hash.  With SipHash they cannot, unless they know the key.
 * Without the key, the hashes of any number of inputs tell nothing about the
 * hashes of other inputs.
 *
 * Source: J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input
 * PRF", INDOCRYPT 2012; the names are those of the paper.
 * test/t/030_group_key.pl compares the results with the values published
 * there.
 *
 * This file needs nothing from the server, so the test can compile it alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "qam/qam_siphash.h"

/* The state */
typedef struct Sip
{
	uint64		v0;
	uint64		v1;
	uint64		v2;
	uint64		v3;
} Sip;

static inline uint64
sip_rotate(uint64 x, int bits)
{
	return (x << bits) | (x >> (64 - bits));
}

static inline void
sip_round(Sip *sip)
{
	sip->v0 += sip->v1;
	sip->v2 += sip->v3;
	sip->v1 = sip_rotate(sip->v1, 13) ^ sip->v0;
	sip->v3 = sip_rotate(sip->v3, 16) ^ sip->v2;
	sip->v0 = sip_rotate(sip->v0, 32);
	sip->v2 += sip->v1;
	sip->v0 += sip->v3;
	sip->v1 = sip_rotate(sip->v1, 17) ^ sip->v2;
	sip->v3 = sip_rotate(sip->v3, 21) ^ sip->v0;
	sip->v2 = sip_rotate(sip->v2, 32);
}

static inline void
sip_compress(Sip *sip, uint64 word)
{
	sip->v3 ^= word;
	sip_round(sip);
	sip_round(sip);
	sip->v0 ^= word;
}

/*
 * Up to eight bytes as a word.  The first one is the lowest, on any machine.
 */
static inline uint64
sip_word(const unsigned char *data, int n)
{
	uint64		word = 0;
	int			i;

	for (i = 0; i < n; i++)
		word |= (uint64) data[i] << (8 * i);
	return word;
}

/*
 * qam_siphash hashes "len" bytes with a key of two words.
 */
uint64
qam_siphash(const uint64 *key, const void *data, Size len)
{
	const unsigned char *at = data;
	Size		rest = len;
	Sip			sip;
	int			i;

	sip.v0 = key[0] ^ UINT64CONST(0x736f6d6570736575);
	sip.v1 = key[1] ^ UINT64CONST(0x646f72616e646f6d);
	sip.v2 = key[0] ^ UINT64CONST(0x6c7967656e657261);
	sip.v3 = key[1] ^ UINT64CONST(0x7465646279746573);
	for (; rest >= 8; rest -= 8, at += 8)
		sip_compress(&sip, sip_word(at, 8));
	sip_compress(&sip, sip_word(at, rest) | (uint64) (len & 0xFF) << 56);
	sip.v2 ^= 0xFF;
	for (i = 0; i < 4; i++)
		sip_round(&sip);
	return sip.v0 ^ sip.v1 ^ sip.v2 ^ sip.v3;
}
