/*-------------------------------------------------------------------------
 *
 * qam_siphash.h
 *	  SipHash-2-4, a hash with a secret key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_SIPHASH_H
#define QAM_SIPHASH_H

extern uint64 qam_siphash(const uint64 *key, const void *data, Size len);

#endif							/* QAM_SIPHASH_H */
