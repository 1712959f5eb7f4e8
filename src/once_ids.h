/*-------------------------------------------------------------------------
 *
 * once_ids.h
 *	  Sets of message ids.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ONCE_IDS_H
#define ONCE_IDS_H

#include "utils/array.h"

/* A set of ids, from an array of bigint without nulls */
typedef struct OnceIds
{
	int64	   *ids;			/* in ascending order */
	int			n;
} OnceIds;

extern void once_ids_make(OnceIds *set, ArrayType *array);
extern bool once_ids_have(const OnceIds *set, int64 id);

#endif							/* ONCE_IDS_H */
