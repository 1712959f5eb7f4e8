/*-------------------------------------------------------------------------
 *
 * meta_names.h
 *	  Relations that are known by their names, and those that have lost
 *	  their name.  See README.
 *
 *-------------------------------------------------------------------------
 */
#ifndef META_NAMES_H
#define META_NAMES_H

#include "postgres_ext.h"

extern void once_names_init(void);
extern char *once_names_table(Oid relid);
extern char *once_names_renamed_from(Oid relid, const char *queue);
extern Oid	once_names_elsewhere(const char *queue, Oid relid);
extern bool once_names_is_own(Oid relid);
extern bool once_names_is_adopted(Oid relid);

#endif							/* META_NAMES_H */
