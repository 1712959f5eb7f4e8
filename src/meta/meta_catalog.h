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
#include "storage/lockdefs.h"
#include "utils/relcache.h"

/* Another default of create_queue, and of a queue without a row; see pg_once.h */
#define ONCE_DEDUP_WINDOW		(5 * USECS_PER_MINUTE)

/* Values of ttl_action */
#define ONCE_TTL_DEAD_LETTER	"dead_letter"
#define ONCE_TTL_DROP			"drop"

/* An option that may be off */
typedef struct OnceSpan
{
	bool		set;
	Interval	value;			/* if set */
} OnceSpan;

/* A row of once.queue, except its key and its date.  "table" is only read. */
typedef struct OnceOptions
{
	int			max_attempts;
	Interval	retry_delay;
	Interval	retry_delay_max;
	Interval	dedup_window;
	OnceSpan	archive;
	OnceSpan	ttl;
	bool		drop_expired;	/* ttl_action is "drop" */
	OnceSpan	retention;
	bool		send_paused;
	bool		consume_paused;
	Oid			table;			/* for which the row was written; InvalidOid:
								 * the row comes from another database */
} OnceOptions;

extern Oid	once_schema_oid(bool missing_ok);
extern bool once_schema_is_table(char relkind);
extern Relation once_schema_open(const char *relname, int natts, LOCKMODE lockmode);
extern Oid	once_schema_table(const char *relname);
pg_noreturn extern void once_schema_raise_mismatch(void);
extern void once_options_default(OnceOptions *options);
extern bool once_options_read(const char *queue, OnceOptions *options);
extern char *once_options_of_table(Oid relid);
extern void once_options_write(const char *queue, const OnceOptions *options,
							   bool created);
extern void once_options_delete(const char *queue);
extern void once_options_lock(const char *prefix, const char *name);
extern bool once_options_try_lock(const char *prefix, const char *name);
extern bool once_options_locked(const char *prefix, const char *name);

#endif							/* META_CATALOG_H */
