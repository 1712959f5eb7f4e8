/*-------------------------------------------------------------------------
 *
 * queue_archive.h
 *	  The archive of a queue.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_ARCHIVE_H
#define QUEUE_ARCHIVE_H

#include "queue/queue_hold.h"
#include "utils/relcache.h"

extern bool once_archive_is_whole(const char *queue);
extern void once_archive_make(Relation heap, const char *queue);
extern Oid	once_archive_oid(const char *queue);
extern char *once_archive_table(const char *queue);
extern void once_archive_put(const OnceQueue *queue, const QamClaimed *messages, int n,
							 OnceHold *hold);
extern int	once_archive_retire(OnceQueue *queue);

#endif							/* QUEUE_ARCHIVE_H */
