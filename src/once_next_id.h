/*-------------------------------------------------------------------------
 *
 * once_next_id.h
 *	  Ids of messages that are unique over the nodes of a cluster.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ONCE_NEXT_ID_H
#define ONCE_NEXT_ID_H

extern void once_draw_init(void);
extern int	once_draw_node(void);
extern int64 once_draw_id(int node);

#endif							/* ONCE_NEXT_ID_H */
