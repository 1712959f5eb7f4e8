/*-------------------------------------------------------------------------
 *
 * qam_directory.h
 *	  The directory of groups.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_DIRECTORY_H
#define QAM_DIRECTORY_H

#include "qam/qam_format.h"
#include "storage/buf.h"
#include "utils/relcache.h"

/* A group's entry in the directory; its page is locked */
typedef struct QamGroupEntry
{
	Buffer		first;			/* first page of its part */
	Buffer		page;			/* where the entry is, or could be put */
	int			entry;			/* -1: no page has room for it */
	bool		found;
	QamGroup	group;			/* if found */
} QamGroupEntry;

extern uint32 qam_directory_hash(const uint64 *key, const char *group_id, int len);
extern uint64 qam_directory_label(const uint64 *key, uint32 hash);
extern void qam_directory_create(Relation index);
extern void qam_directory_lock(Relation index, uint32 hash, int mode, QamGroupEntry *out);
extern void qam_directory_unlock(QamGroupEntry *entry);
extern bool qam_directory_agrees(QamDirectory directory, BlockNumber block, Page page,
								 uint32 hash);
extern void qam_directory_grow(Relation index, uint32 hash);
extern int	qam_directory_copy_groups(Relation index, uint32 place, uint32 from,
									  QamGroup **groups, uint32 *nplaces);

#endif							/* QAM_DIRECTORY_H */
