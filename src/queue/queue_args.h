/*-------------------------------------------------------------------------
 *
 * queue_args.h
 *	  Arguments of the verbs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_ARGS_H
#define QUEUE_ARGS_H

#include "fmgr.h"
#include "utils/array.h"
#include "utils/uuid.h"

#define ONCE_MAX_LEASE		(365 * USECS_PER_DAY)
#define ONCE_MAX_WAIT		(60 * USECS_PER_SEC)

extern char *once_queue_arg_name(FunctionCallInfo fcinfo, int argno);
extern int	once_queue_arg_max_messages(FunctionCallInfo fcinfo, int argno);
extern int	once_queue_arg_priority(FunctionCallInfo fcinfo, int argno);
extern int64 once_queue_arg_lease(FunctionCallInfo fcinfo, int argno);
extern int64 once_queue_arg_delay(FunctionCallInfo fcinfo, int argno, const char *name,
								  int max_days);
extern void once_queue_arg_check_group(Datum group_id, int priority);
extern int64 once_queue_arg_wait(FunctionCallInfo fcinfo, int argno);
extern void once_queue_arg_receipt(FunctionCallInfo fcinfo, int argno, pg_uuid_t *uuid);
extern pg_uuid_t *once_queue_arg_receipts(FunctionCallInfo fcinfo, int argno, int *nreceipts);
extern ArrayType *once_queue_arg_ids(FunctionCallInfo fcinfo, int argno);

#endif							/* QUEUE_ARGS_H */
