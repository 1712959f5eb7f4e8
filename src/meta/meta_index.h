/*-------------------------------------------------------------------------
 *
 * meta_index.h
 *	  The indexes of a table, as they were at one moment.
 *
 *-------------------------------------------------------------------------
 */
#ifndef META_INDEX_H
#define META_INDEX_H

#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

typedef struct OnceIndex
{
	Oid			oid;
	Oid			am;
	bool		ready;			/* rows must be inserted into it */
	bool		valid;			/* and it may be searched */
	AttrNumber	key;			/* the column of a plain unique key on one
								 * column, checked at once; 0 if it is none */
} OnceIndex;

extern List *once_index_list(Relation heap);
extern List *once_index_list_of(Oid relid);
extern bool once_index_is_plain(Relation index);
extern bool once_index_all_free(Relation table, LOCKMODE lockmode);
extern bool once_index_try_lock_table(Oid relid, LOCKMODE lockmode);

#endif							/* META_INDEX_H */
