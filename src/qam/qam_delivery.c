/*-------------------------------------------------------------------------
 *
 * qam_delivery.c
 *	  Functions that depend on a delivery and on nothing else: its proof, and
 *	  when its message is ready again if it fails.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "common/hashfn.h"
#include "common/int.h"
#include "miscadmin.h"
#include "qam/qam.h"
#include "qam/qam_delivery.h"
#include "qam/qam_format.h"
#include "utils/timestamp.h"

/* Pause between tries to take a stuck message away: 1 s, 4 s, 16 s, .. 15 min */
#define QAM_STUCK_PAUSE			USECS_PER_SEC
#define QAM_STUCK_PAUSE_MAX		(15 * USECS_PER_MINUTE)

StaticAssertDecl(QAM_SLOTS_PER_PAGE <= QAM_MAX_SLOT,
				 "slot number fits its place in a receipt");

/*
 * qam_proof computes the proof for a slot as it is now.
 */
uint64
qam_proof(const uint64 *nonce, uint64 seq, int slotno, const QamSlot *slot)
{
	uint64		words[6];

	words[0] = nonce[0];
	words[1] = seq;
	words[2] = slot->claim;
	words[3] = ((uint64) slotno << 16) | slot->attempts;
	words[4] = nonce[1];
	words[5] = MyDatabaseId;
	return hash_bytes_extended((unsigned char *) words, sizeof(words), nonce[1]) &
		QAM_PROOF_MASK;
}

/*
 * The longest pause after the n-th delivery of a message has failed is
 * min(retry_delay * 2^(n-1), retry_delay_max).
 */
static int64
backoff(const QamRetry *retry, int attempts)
{
	int64		delay = retry->delay;
	int			n;

	for (n = 1; n < attempts && delay < retry->delay_max; n++)
	{
		if (delay > PG_INT64_MAX / 2)
			return retry->delay_max;
		delay *= 2;
		if (delay == 0)
			break;
	}
	return Min(delay, retry->delay_max);
}

/*
 * qam_pause returns the pause after a delivery has failed: between 80 and 100 %
 * of the back-off, so that messages that failed together do not come back
 * together.
 *
 * No random number is drawn.  The pause is computed from the delivery, so
 * everybody who looks at the slot gets the same time.  There is no pause if
 * the message's attempts are used up: it is to be taken away.
 */
int64
qam_pause(const QamRetry *retry, uint64 seq, int slotno, const QamSlot *slot)
{
	int64		longest;
	uint64		words[3];
	uint64		draw;

	if (retry->max_attempts > 0 && slot->attempts >= retry->max_attempts)
		return 0;
	longest = backoff(retry, slot->attempts);
	if (longest == 0)
		return 0;
	words[0] = slot->claim;
	words[1] = seq;
	words[2] = ((uint64) slotno << 16) | slot->attempts;
	draw = hash_bytes_extended((unsigned char *) words, sizeof(words), 0);
	return longest - (longest / 5) * (int64) (draw & 0xFF) / 255;
}

/*
 * qam_ready_again tells when a message whose delivery has failed is ready
 * again: a pause after the time of its claim, or after the end of its lease.
 */
int64
qam_ready_again(const QamRetry *retry, uint64 seq, int slotno, const QamSlot *slot)
{
	int64		ready_at;

	if (pg_add_s64_overflow(slot->ready_at, qam_pause(retry, seq, slotno, slot), &ready_at))
		return DT_NOEND;
	return ready_at;
}

/*
 * qam_stuck_pause returns the pause after a message could not be taken away
 * for the n-th time in a row.  It does not depend on the queue's retry delay,
 * which is meant for consumers that fail, and not for what keeps a row.
 */
int64
qam_stuck_pause(int stuck)
{
	int64		pause = QAM_STUCK_PAUSE;

	while (--stuck > 0 && pause < QAM_STUCK_PAUSE_MAX)
		pause *= 4;
	return Min(pause, QAM_STUCK_PAUSE_MAX);
}
