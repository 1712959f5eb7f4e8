/*-------------------------------------------------------------------------
 *
 * meta_letters.h
 *	  Dead letters on their way out of once.dead_letter.
 *
 *-------------------------------------------------------------------------
 */
#ifndef META_LETTERS_H
#define META_LETTERS_H

#include "meta/meta_dead.h"
#include "once_ids.h"

/* A search for letters of a queue in the table of dead letters, which is open */
typedef struct OnceLetters
{
	Relation	rel;
	const char *queue;
	bool		any_id;			/* all letters, or only those of some ids: */
	OnceIds		ids;

	/*
	 * The last letter looked at, in the order of death, and the places of all
	 * that have its time and id and were looked at
	 */
	TimestampTz dead_at;
	int64		id;
	ItemPointer places;
	int			nplaces;
	int			max_places;
	int			nbefore;		/* how many places are from earlier scans */

	/* The letters that the last call has found */
	int64		nfound;
	struct Tuplesortstate *sorted;
	TupleTableSlot *slot;
	TupleTableSlot *filled;
} OnceLetters;

extern void once_letters_begin(OnceLetters *letters, const char *queue, ArrayType *ids);
extern int64 once_letters_find(OnceLetters *letters, TimestampTz before, int64 max);
extern int	once_letters_fetch(OnceLetters *letters, int max, ItemPointer places, int64 *ids);
extern void once_letters_end(OnceLetters *letters);

extern HeapTuple once_letter_remove(OnceDeadWriter *writer, ItemPointer place);

#endif							/* META_LETTERS_H */
