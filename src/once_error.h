/*-------------------------------------------------------------------------
 *
 * once_error.h
 *	  The SQLSTATEs of class ON, which is ours, and when each is raised.
 *
 * Clients branch on these and never on the text of a message.  Everything
 * else is reported with PostgreSQL's own codes: a bad argument with
 * invalid_parameter_value (22023), a bad name with invalid_name (42602), a NULL
 * that is not allowed with null_value_not_allowed (22004), a missing right with
 * insufficient_privilege (42501), a queue that exists already with
 * duplicate_table (42P07), a use that is not supported with
 * feature_not_supported (0A000).
 *
 *-------------------------------------------------------------------------
 */
#ifndef ONCE_ERROR_H
#define ONCE_ERROR_H

#include "utils/elog.h"

/* once_queue_not_found: no queue of that name, or the receipt's queue is gone */
#define ERRCODE_ONCE_QUEUE_NOT_FOUND	MAKE_SQLSTATE('O','N','0','0','1')

/* once_invalid_receipt: the value was never a receipt, or it is NULL */
#define ERRCODE_ONCE_INVALID_RECEIPT	MAKE_SQLSTATE('O','N','0','0','2')

/*
 * once_lease_lost: the claim that the receipt stands for is no longer the
 * caller's.  The message has been delivered to somebody else or given back, the
 * index was rebuilt, or the row was moved.  The caller's transaction must not
 * commit its effects.
 */
#define ERRCODE_ONCE_LEASE_LOST			MAKE_SQLSTATE('O','N','0','0','3')

/* once_already_acked: the message has been deleted already */
#define ERRCODE_ONCE_ALREADY_ACKED		MAKE_SQLSTATE('O','N','0','0','4')

/*
 * once_unacked: the transaction received messages, and would have committed
 * without acking them or giving them back
 */
#define ERRCODE_ONCE_UNACKED			MAKE_SQLSTATE('O','N','0','0','5')

/* once_ack_suppressed: a trigger or rule of the table kept the row */
#define ERRCODE_ONCE_ACK_SUPPRESSED		MAKE_SQLSTATE('O','N','0','0','6')

/* once_send_suppressed: a trigger or rule of the table dropped the row */
#define ERRCODE_ONCE_SEND_SUPPRESSED	MAKE_SQLSTATE('O','N','0','0','7')

/* once_paused: sending to the queue, or consuming from it, is paused */
#define ERRCODE_ONCE_PAUSED				MAKE_SQLSTATE('O','N','0','0','8')

/*
 * once_queue_unusable: the table was renamed, or altered so that it is no queue
 * any more: it has no valid once_queue index, or two, or it has lost a column or
 * the sequence of its ids
 */
#define ERRCODE_ONCE_QUEUE_UNUSABLE		MAKE_SQLSTATE('O','N','0','0','9')

/*
 * once_group_order: the message cannot be acked while an earlier one of its
 * group is neither acked nor gone
 */
#define ERRCODE_ONCE_GROUP_ORDER		MAKE_SQLSTATE('O','N','0','1','0')

/* once_ledger_not_found: no ledger of that name */
#define ERRCODE_ONCE_LEDGER_NOT_FOUND	MAKE_SQLSTATE('O','N','0','1','1')

/*
 * once_not_processed: a result was given for an id that this transaction has
 * not marked
 */
#define ERRCODE_ONCE_NOT_PROCESSED		MAKE_SQLSTATE('O','N','0','1','2')

/* once_ledger_unusable: a table of the ledger was altered, or has another owner */
#define ERRCODE_ONCE_LEDGER_UNUSABLE	MAKE_SQLSTATE('O','N','0','1','3')

/*
 * once_remote_effects: the transaction changed a queue or a ledger of this node and
 * worked on other nodes, which once.remote_effects does not allow
 */
#define ERRCODE_ONCE_REMOTE_EFFECTS		MAKE_SQLSTATE('O','N','0','1','4')

/*
 * The next three are raised by handlers of once.work(), which they tell what to do with
 * the message.  once_release: give it back as if it had not been delivered
 */
#define ERRCODE_ONCE_RELEASE			MAKE_SQLSTATE('O','N','0','2','0')

/* once_retry_in: deliver it again after the time that the error's detail says */
#define ERRCODE_ONCE_RETRY_IN			MAKE_SQLSTATE('O','N','0','2','1')

/* once_reject: it goes to the dead letters, however many attempts are left */
#define ERRCODE_ONCE_REJECT				MAKE_SQLSTATE('O','N','0','2','2')

/* once_schedule_not_found: no schedule of that name */
#define ERRCODE_ONCE_SCHEDULE_NOT_FOUND	MAKE_SQLSTATE('O','N','0','2','3')

/* once_worker_not_found: no worker of that name */
#define ERRCODE_ONCE_WORKER_NOT_FOUND	MAKE_SQLSTATE('O','N','0','2','4')

#endif							/* ONCE_ERROR_H */
