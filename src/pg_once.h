/*-------------------------------------------------------------------------
 *
 * pg_once.h
 *	  Names and limits of the whole extension.  Every file includes it right
 *	  after postgres.h.
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

#endif							/* PG_ONCE_H */
