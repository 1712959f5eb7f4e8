/*-------------------------------------------------------------------------
 *
 * once_rest.h
 *	  Queues and databases in which no work is due until somebody does something.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ONCE_REST_H
#define ONCE_REST_H

extern void once_rest_init(void);
extern void once_rest_begin(Oid relid);
extern void once_rest_settle(Oid relid);
extern bool once_rest_is(Oid database, Oid relid);
extern void once_rest_end(Oid relid);
extern void once_rest_end_at_commit(void);

#endif							/* ONCE_REST_H */
