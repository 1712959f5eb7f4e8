/*-------------------------------------------------------------------------
 *
 * meta_catalog.h
 *	  The table once.queue: one row of options for each queue.
 *
 *-------------------------------------------------------------------------
 */
#ifndef META_CATALOG_H
#define META_CATALOG_H

#include "datatype/timestamp.h"

/* What create_queue assumes, and what a queue without a row has; microseconds */
#define ONCE_RETRY_DELAY		USECS_PER_SEC
#define ONCE_RETRY_DELAY_MAX	USECS_PER_HOUR

/* A row of once.queue, but for its key and its date */
typedef struct OnceOptions
{
	Interval	retry_delay;
	Interval	retry_delay_max;
	bool		send_paused;
	bool		consume_paused;
} OnceOptions;

extern Oid	once_schema_oid(bool missing_ok);
extern int64 once_interval_usec(const Interval *interval);
extern bool once_options_read(const char *queue, OnceOptions *options);
extern void once_options_write(const char *queue, const OnceOptions *options,
							   bool created);
extern void once_options_delete(const char *queue);
extern void once_options_lock(const char *queue);

#endif							/* META_CATALOG_H */
