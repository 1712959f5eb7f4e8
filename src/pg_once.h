/*-------------------------------------------------------------------------
 *
 * pg_once.h
 *	  Names, limits and defaults of the whole extension.  Every file includes it
 *	  right after postgres.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PG_ONCE_H
#define PG_ONCE_H

#include "compat/once_compat.h"

#define ONCE_SCHEMA			"once"
#define ONCE_QUEUE_PREFIX	"q_"
#define ONCE_ARCHIVE_PREFIX	"a_"
#define ONCE_LEDGER_PREFIX	"l_"
#define ONCE_DEDUP_PREFIX	"d_"

/* Longest name of a queue or ledger; "q_<name>_id_seq" and the like fit NAMEDATALEN */
#define ONCE_MAX_NAME		47

/* Largest max_messages of all verbs that hand out messages */
#define ONCE_MAX_MESSAGES	10000

/* Options of a queue: defaults, in microseconds, and limits */
#define ONCE_MAX_ATTEMPTS		10
#define ONCE_RETRY_DELAY		USECS_PER_SEC
#define ONCE_RETRY_DELAY_MAX	USECS_PER_HOUR
#define ONCE_MAX_MAX_ATTEMPTS	1000
#define ONCE_MAX_DELAY_DAYS		365 /* from one delivery to the next */
#define ONCE_MAX_DAYS			36500	/* longest time that an argument may
										 * give */

#endif							/* PG_ONCE_H */
