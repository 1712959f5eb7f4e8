/*-------------------------------------------------------------------------
 *
 * once_args.h
 *	  Reading and checking arguments of all kinds of functions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ONCE_ARGS_H
#define ONCE_ARGS_H

#include "fmgr.h"
#include "utils/array.h"

extern void once_check_name(const char *what, const char *name);
extern bool once_arg_bool(FunctionCallInfo fcinfo, int argno, const char *name);
extern int	once_arg_int(FunctionCallInfo fcinfo, int argno, const char *name, int min, int max);
extern ArrayType *once_arg_array(FunctionCallInfo fcinfo, int argno, const char *name, Oid type);
extern char *once_arg_role(FunctionCallInfo fcinfo, int argno);
extern int64 once_interval_usec(const Interval *interval);
extern char *once_interval_text(const Interval *interval);
extern int64 once_arg_interval(FunctionCallInfo fcinfo, int argno);
extern int64 once_arg_span(FunctionCallInfo fcinfo, int argno, const char *name,
						   int64 min, const char *min_text);
extern int	once_arg_errdetail_interval(FunctionCallInfo fcinfo, int argno);
extern void once_arg_refuse_null(const char *name);
pg_noreturn extern void once_raise_no_queue(const char *name);

#endif							/* ONCE_ARGS_H */
