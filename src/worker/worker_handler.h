/*-------------------------------------------------------------------------
 *
 * worker_handler.h
 *	  The function that a consumer loop calls with each message.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_HANDLER_H
#define WORKER_HANDLER_H

#include "executor/spi.h"

typedef struct OnceHandler
{
	Oid			oid;
	Oid			message_type;	/* once.message */
	bool		takes_batch;	/* does it take once.message[]? */
	bool		is_procedure;
	bool		is_variadic;
	SPIPlanPtr	plan;			/* of its call, or NULL */
	Oid			planned_for;	/* function, schema and name in that plan */
	NameData	schema;
	NameData	name;
} OnceHandler;

extern void once_handler_look_up(OnceHandler *handler, Oid oid);
extern void once_handler_call(OnceHandler *handler, const Datum *messages, int n);
extern void once_handler_forget(OnceHandler *handler);
extern Oid	once_handler_find(const char *signature);

#endif							/* WORKER_HANDLER_H */
