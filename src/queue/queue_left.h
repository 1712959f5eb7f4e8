/*-------------------------------------------------------------------------
 *
 * queue_left.h
 *	  What is left of a queue that has lost its table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_LEFT_H
#define QUEUE_LEFT_H

extern void once_left_check(const char *queue);
extern void once_left_drop(const char *queue);

#endif							/* QUEUE_LEFT_H */
