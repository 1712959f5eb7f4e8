/*-------------------------------------------------------------------------
 *
 * qam_directory.c
 *	  The directory of ordered groups: where the chain of each begins and ends.
 *
 * It is a hash table that grows by splitting.  Its root has a place for each
 * value of the low "depth" bits of a hash.  The places lead to the parts,
 * which are lists of pages.  A part that has less depth than the root is in
 * several places.
 *
 * The lock of a part's first page protects the whole part.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "qam/qam_damage.h"
#include "qam/qam_directory.h"
#include "qam/qam_format.h"
#include "qam/qam_meta.h"
#include "qam/qam_page.h"
#include "qam/qam_siphash.h"
#include "qam/qam_xlog.h"
#include "storage/bufmgr.h"

/*
 * qam_directory_hash returns the hash by which a group is known; never 0.
 *
 * Senders choose the names of groups.  Since they do not know the key, they
 * cannot choose which groups share a part of the directory, or the whole hash.
 */
uint32
qam_directory_hash(const uint64 *key, const char *group_id, int len)
{
	uint32		hash = (uint32) qam_siphash(key, group_id, len);

	return hash != 0 ? hash : 1;
}

/*
 * qam_directory_label returns what callers may see of a group's hash if they
 * can look at the index; not 0, and not more than a bigint holds.
 *
 * The hash itself would tell them which names go to the same part of the
 * directory.  So it is hashed with the same key, together with zero bytes,
 * which no name contains.
 */
uint64
qam_directory_label(const uint64 *key, uint32 hash)
{
	uint64		word = hash;
	uint64		label = qam_siphash(key, &word, sizeof(word)) & PG_INT64_MAX;

	return label != 0 ? label : 1;
}

/*
 * qam_directory_create makes the directory, unless it exists by now.  No locks
 * on entry or exit.
 */
void
qam_directory_create(Relation index)
{
	Buffer		meta_buffer = ReadBuffer(index, QAM_METAPAGE);
	QamMeta		meta;
	uint64		nonce[2];

	qam_meta_random(nonce);
	LockBuffer(meta_buffer, BUFFER_LOCK_EXCLUSIVE);
	meta = qam_meta_check(index, BufferGetPage(meta_buffer));
	if (meta->directory == 0)
	{
		QamLink		free = meta->free;
		Buffer		root = qam_meta_get_page(index, &free);
		Buffer		groups = qam_meta_get_page(index, &free);
		QamLog		log;
		Page		page;
		uint64		root_seq;
		uint64		groups_seq;

		qam_log_begin(&log, index);
		page = qam_log_page(&log, meta_buffer, false);
		qam_meta_renew_nonce(&log, page, nonce);
		root_seq = qam_page_next_seq(&log, page);
		groups_seq = qam_page_next_seq(&log, page);
		qam_page_set_free_list(&log, page, free);
		qam_page_set_directory(&log, page, BufferGetBlockNumber(root));
		qam_page_init_directory(qam_log_page(&log, root, true), root_seq,
								BufferGetBlockNumber(groups));
		qam_page_init(qam_log_page(&log, groups, true), QAM_PAGE_GROUPS, 0, groups_seq);
		qam_log_finish(&log);
		UnlockReleaseBuffer(groups);
		UnlockReleaseBuffer(root);
	}
	UnlockReleaseBuffer(meta_buffer);
}

/*
 * Three steps, each of which pins and locks a page: to the directory's root;
 * from the locked root to the first page of a part; from a locked page to the
 * next one.
 */
static Buffer
directory_root(Relation index, BlockNumber block, int mode)
{
	return qam_follow(index, "metapage", qam_link(block, 0), QAM_PAGE_DIRECTORY, mode);
}

static Buffer
directory_part(Relation index, Page root, uint32 hash, int mode)
{
	QamDirectory directory = QamPageGetDirectory(root);
	uint32		part = hash & ((UINT32_C(1) << directory->depth) - 1);

	return qam_follow(index, "directory of groups", qam_link(directory->pages[part], 0),
					  QAM_PAGE_GROUPS, mode);
}

static Buffer
directory_next(Relation index, QamLink next, int mode)
{
	return qam_follow(index, "directory of groups", next, QAM_PAGE_GROUPS, mode);
}

/*
 * Is the page of the part that a hash belongs to, going by its first group?
 */
static bool
page_has_part(Page page, uint32 hash)
{
	uint32		mask = (UINT32_C(1) << QamPageGetOpaque(page)->lane) - 1;

	return QamPageGetGroupCount(page) == 0 ||
		((QamPageGetGroups(page)->hash ^ hash) & mask) == 0;
}

/*
 * qam_directory_lock finds a group.  The directory must exist.
 *
 * On exit, the first page of the group's part is locked in the given mode, and
 * so is out->page.  If the group is found, that is the page of its entry.  If
 * not, it is a page with room for an entry; out->entry is -1 if no page has
 * room.  The caller unlocks with qam_directory_unlock.
 *
 * The pages of a part have ascending numbers, so the loop ends.
 */
void
qam_directory_lock(Relation index, uint32 hash, int mode, QamGroupEntry *out)
{
	Buffer		root = directory_root(index, qam_meta_directory(index), BUFFER_LOCK_SHARE);
	Buffer		room = InvalidBuffer;

	out->first = directory_part(index, BufferGetPage(root), hash, mode);
	UnlockReleaseBuffer(root);
	out->page = out->first;
	out->found = false;
	for (;;)
	{
		Page		page = BufferGetPage(out->page);
		QamGroup   *groups = QamPageGetGroups(page);
		int			n = QamPageGetGroupCount(page);
		QamLink		next = QamPageGetOpaque(page)->next;
		int			i;

		if (!page_has_part(page, hash))
			qam_broken(index, BufferGetBlockNumber(out->page),
					   "The directory leads to this block, which is that of another part.");
		for (i = 0; i < n; i++)
			if (groups[i].hash == hash)
			{
				out->found = true;
				out->entry = i;
				out->group = groups[i];
				if (BufferIsValid(room) && room != out->page)
				{
					if (room != out->first)
						UnlockReleaseBuffer(room);
				}
				return;
			}
		if (n < QAM_GROUPS_PER_PAGE && !BufferIsValid(room))
			room = out->page;
		if (out->page != out->first && out->page != room)
			UnlockReleaseBuffer(out->page);
		if (!QamLinkIsValid(&next))
			break;
		out->page = directory_next(index, next, mode);
	}
	out->page = BufferIsValid(room) ? room : out->first;
	out->entry = BufferIsValid(room) ? QamPageGetGroupCount(BufferGetPage(room)) : -1;
}

void
qam_directory_unlock(QamGroupEntry *entry)
{
	if (entry->page != entry->first)
		UnlockReleaseBuffer(entry->page);
	UnlockReleaseBuffer(entry->first);
}

/*
 * qam_directory_agrees tells whether a page of groups is in all those places
 * of the directory that its depth says, and in no others.  "hash" is the hash
 * of one of its groups, or one of its places.
 */
bool
qam_directory_agrees(QamDirectory directory, BlockNumber block, Page page, uint32 hash)
{
	uint32		depth = QamPageGetOpaque(page)->lane;
	uint32		mask = (UINT32_C(1) << depth) - 1;
	uint32		i;

	for (i = 0; i < (UINT32_C(1) << directory->depth); i++)
		if ((directory->pages[i] == block) != (((i ^ hash) & mask) == 0))
			return false;
	return depth <= directory->depth;
}

/*
 * qam_directory_grow makes room for another group in the part of a hash.  It
 * splits the part, or adds a page if the part cannot be split any more.  No
 * locks on entry or exit.  The caller may have to repeat it, because all
 * groups may have gone to one side.
 */
void
qam_directory_grow(Relation index, uint32 hash)
{
	Buffer		meta_buffer = ReadBuffer(index, QAM_METAPAGE);
	Buffer		root;
	Buffer		page_buffer;
	Buffer		new;
	QamMeta		meta;
	QamLink		free;
	QamLink		next;
	QamLog		log;
	Page		page;
	uint64		seq;

	LockBuffer(meta_buffer, BUFFER_LOCK_EXCLUSIVE);
	meta = qam_meta_check(index, BufferGetPage(meta_buffer));
	root = directory_root(index, meta->directory, BUFFER_LOCK_EXCLUSIVE);
	page_buffer = directory_part(index, BufferGetPage(root), hash,
								 BUFFER_LOCK_EXCLUSIVE);
	while ((next = QamPageGetOpaque(BufferGetPage(page_buffer))->next,
			QamLinkIsValid(&next)))
	{
		/* While the root is locked, nobody else gets to the first page */
		UnlockReleaseBuffer(page_buffer);
		page_buffer = directory_next(index, next, BUFFER_LOCK_EXCLUSIVE);
	}
	page = BufferGetPage(page_buffer);
	if (QamPageGetGroupCount(page) == QAM_GROUPS_PER_PAGE)
	{
		if (QamPageGetOpaque(page)->lane < QAM_DIRECTORY_MAX_DEPTH &&
			!qam_directory_agrees(QamPageGetDirectory(BufferGetPage(root)),
								  BufferGetBlockNumber(page_buffer), page, hash))
			qam_broken(index, BufferGetBlockNumber(page_buffer),
					   "The directory does not agree with the depth of this page.");
		free = meta->free;
		new = qam_meta_get_page(index, &free);
		qam_log_begin(&log, index);
		page = qam_log_page(&log, meta_buffer, false);
		seq = qam_page_next_seq(&log, page);
		qam_page_set_free_list(&log, page, free);
		page = BufferGetPage(page_buffer);
		if (QamPageGetOpaque(page)->lane < QAM_DIRECTORY_MAX_DEPTH)
		{
			Page		root_page = qam_log_page(&log, root, false);

			page = qam_log_page(&log, page_buffer, false);
			qam_page_split_groups(&log, root_page, page, qam_log_page(&log, new, true),
								  BufferGetBlockNumber(new), seq, hash);
		}
		else
		{
			page = qam_log_page(&log, page_buffer, false);
			qam_page_set_next(&log, page, qam_link(BufferGetBlockNumber(new), seq));
			qam_page_init(qam_log_page(&log, new, true), QAM_PAGE_GROUPS,
						  QAM_DIRECTORY_MAX_DEPTH, seq);
		}
		qam_log_finish(&log);
		UnlockReleaseBuffer(new);
	}
	UnlockReleaseBuffer(page_buffer);
	UnlockReleaseBuffer(root);
	UnlockReleaseBuffer(meta_buffer);
}

static int
compare_groups(const void *a, const void *b)
{
	uint32		first = ((const QamGroup *) a)->hash;
	uint32		second = ((const QamGroup *) b)->hash;

	return first < second ? -1 : first > second;
}

/*
 * qam_directory_copy_groups copies the groups of one part of the directory,
 * given by a place of it: those whose hashes are not less than "from", in the
 * order of the hashes.  Returns how many there are; *groups is palloc'd.  If
 * the part is in several places, it counts for the first of them only, and the
 * others have no groups.
 *
 * The place is taken modulo the number of places, which goes to *nplaces; 0 if
 * there is no directory.  No locks on entry or exit.
 */
int
qam_directory_copy_groups(Relation index, uint32 place, uint32 from, QamGroup **groups,
						  uint32 *nplaces)
{
	BlockNumber block = qam_meta_directory(index);
	Buffer		buffer;
	Buffer		next_buffer;
	QamLink		next;
	int			n = 0;
	int			i;

	*nplaces = 0;
	*groups = palloc(QAM_GROUPS_PER_PAGE * sizeof(QamGroup));
	if (block == 0)
		return 0;
	buffer = directory_root(index, block, BUFFER_LOCK_SHARE);
	*nplaces = UINT32_C(1) << QamPageGetDirectory(BufferGetPage(buffer))->depth;
	place %= *nplaces;
	next_buffer = directory_part(index, BufferGetPage(buffer), place, BUFFER_LOCK_SHARE);
	UnlockReleaseBuffer(buffer);
	buffer = next_buffer;
	while (place < UINT32_C(1) << QamPageGetOpaque(BufferGetPage(buffer))->lane)
	{
		Page		page = BufferGetPage(buffer);

		for (i = 0; i < QamPageGetGroupCount(page); i++)
			if (QamPageGetGroups(page)[i].hash >= from)
				(*groups)[n++] = QamPageGetGroups(page)[i];
		next = QamPageGetOpaque(page)->next;
		if (!QamLinkIsValid(&next))
			break;
		*groups = repalloc_huge(*groups, (n + QAM_GROUPS_PER_PAGE) * sizeof(QamGroup));
		next_buffer = directory_next(index, next, BUFFER_LOCK_SHARE);
		UnlockReleaseBuffer(buffer);
		buffer = next_buffer;
	}
	UnlockReleaseBuffer(buffer);
	qsort(*groups, n, sizeof(QamGroup), compare_groups);
	return n;
}
