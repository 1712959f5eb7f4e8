/*-------------------------------------------------------------------------
 *
 * queue_options.h
 *	  Options of a queue, as arguments.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_OPTIONS_H
#define QUEUE_OPTIONS_H

#include "fmgr.h"
#include "meta/meta_catalog.h"

#define ONCE_MIN_ARCHIVE		USECS_PER_MINUTE

extern void once_options_from_args(FunctionCallInfo fcinfo, int argno,
								   OnceOptions *options);

#endif							/* QUEUE_OPTIONS_H */
