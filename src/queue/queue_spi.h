/*-------------------------------------------------------------------------
 *
 * queue_spi.h
 *	  Putting rows into a queue's table, and deleting them, by SQL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_SPI_H
#define QUEUE_SPI_H

#include "queue/queue_row.h"

extern void once_spi_insert(OnceQueue *queue, const OnceNewRows *batch);
extern bool once_spi_delete(OnceQueue *queue, ItemPointer tid, int64 id);
extern bool once_spi_is_there(OnceQueue *queue, ItemPointer tid, int64 id);
extern bool once_spi_remove(OnceQueue *queue, ItemPointer tid, int64 id);
extern void once_spi_raise_suppressed(const OnceQueue *queue);

#endif							/* QUEUE_SPI_H */
