/*-------------------------------------------------------------------------
 *
 * once_ids.c
 *	  Sets of message ids.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "catalog/pg_type.h"
#include "once_ids.h"

static int	compare_ids(const void *a, const void *b);

/*
 * once_ids_make makes a set of the elements of an array, in the current memory
 * context.
 */
void
once_ids_make(OnceIds *set, ArrayType *array)
{
	Datum	   *elements;
	int			i;

	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &elements, NULL, &set->n);
	set->ids = palloc(sizeof(int64) * Max(set->n, 1));
	for (i = 0; i < set->n; i++)
		set->ids[i] = DatumGetInt64(elements[i]);
	qsort(set->ids, set->n, sizeof(int64), compare_ids);
}

bool
once_ids_have(const OnceIds *set, int64 id)
{
	return bsearch(&id, set->ids, set->n, sizeof(int64), compare_ids) != NULL;
}

static int
compare_ids(const void *a, const void *b)
{
	int64		first = *(const int64 *) a;
	int64		second = *(const int64 *) b;

	return first < second ? -1 : first > second;
}
