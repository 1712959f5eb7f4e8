/*-------------------------------------------------------------------------
 *
 * once_compat.h
 *	  The one place that knows how PostgreSQL's major versions differ.
 *
 * Each shim hides one difference and says what changed upstream.  A test of
 * PG_VERSION_NUM anywhere else needs a reason.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ONCE_COMPAT_H
#define ONCE_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "pg_once needs PostgreSQL 15 or later"
#endif

/* 16 moved the varlena macros from postgres.h to a header of their own */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 18 replaced pg_attribute_noreturn(), after a function, by pg_noreturn, before it */
#ifndef pg_noreturn
#define pg_noreturn pg_attribute_noreturn()
#endif

/* 18 gave vacuum_delay_point an argument */
#if PG_VERSION_NUM >= 180000
#define once_vacuum_delay_point()	vacuum_delay_point(false)
#else
#define once_vacuum_delay_point()	vacuum_delay_point()
#endif

/* 17 moved lxid, the local transaction id in PGPROC, into the struct vxid there */
#if PG_VERSION_NUM >= 170000
#define once_my_lxid()				(MyProc->vxid.lxid)
#else
#define once_my_lxid()				(MyProc->lxid)
#endif

/* 17 made the number of a backend's PGPROC a variable of its own */
#if PG_VERSION_NUM >= 170000
#define once_my_procno()			MyProcNumber
#else
#define once_my_procno()			(MyProc->pgprocno)
#endif

/*
 * Since 17, a backend can make or find shared memory by its name while the
 * server is running.  Before, it had to be requested at the start.  19 gave the
 * function that fills it an argument.
 */
#if PG_VERSION_NUM >= 170000
#include "storage/dsm_registry.h"

#define ONCE_HAS_NAMED_SEGMENTS		true
#else
#define ONCE_HAS_NAMED_SEGMENTS		false
#endif

typedef void (*OnceInitSegment) (void *memory);

#if PG_VERSION_NUM >= 190000
static inline void
once_init_segment(void *memory, void *init)
{
	(*(OnceInitSegment *) init) (memory);
}
#endif

static inline void *
once_named_segment(const char *name, Size size, OnceInitSegment init, bool *found)
{
#if PG_VERSION_NUM >= 190000
	return GetNamedDSMSegment(name, size, once_init_segment, found, &init);
#elif PG_VERSION_NUM >= 170000
	return GetNamedDSMSegment(name, size, init, found);
#else
	*found = false;
	return NULL;
#endif
}

/*
 * 19 keeps the names of tranches of lightweight locks in shared memory.  Before,
 * each process registered them.
 */
#include "storage/lwlock.h"

#if PG_VERSION_NUM >= 190000
#define once_new_tranche(name)				LWLockNewTrancheId(name)
#define once_register_tranche(tranche, name)	((void) (tranche))
#else
#define once_new_tranche(name)				LWLockNewTrancheId()
#define once_register_tranche(tranche, name)	LWLockRegisterTranche(tranche, name)
#endif

/*
 * once_settings returns all settings of the server, and how many they are.  16 put
 * them into a hash table, of which get_guc_variables() returns a copy.
 */
#if PG_VERSION_NUM >= 160000
#define once_settings(n)			get_guc_variables(n)
#else
#define once_settings(n)			(*(n) = GetNumConfigOptions(), get_guc_variables())
#endif

/*
 * once_extend adds a page to a fork and returns it pinned, locked exclusively
 * and all zeros.  16 replaced ReadBuffer(rel, P_NEW) under an extension lock
 * by ExtendBufferedRel, which takes that lock itself.
 */
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/rel.h"

static inline Buffer
once_extend(Relation rel, ForkNumber fork)
{
#if PG_VERSION_NUM >= 160000
	return ExtendBufferedRel(BMR_REL(rel), fork, NULL, EB_LOCK_FIRST);
#else
	Buffer		buffer;
	bool		shared = !RELATION_IS_LOCAL(rel);

	if (shared)
		LockRelationForExtension(rel, ExclusiveLock);
	buffer = ReadBufferExtended(rel, fork, P_NEW, RBM_NORMAL, NULL);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	if (shared)
		UnlockRelationForExtension(rel, ExclusiveLock);
	return buffer;
#endif
}

/* 16 replaced pg_proc_aclcheck and its kin by object_aclcheck */
#if PG_VERSION_NUM >= 160000
#define once_may_execute(function, role) \
	(object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK)
#else
#define once_may_execute(function, role) \
	(pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK)
#endif

/* The same of pg_namespace_aclcheck */
#if PG_VERSION_NUM >= 160000
#define once_may_create_in(schema, role) \
	(object_aclcheck(NamespaceRelationId, schema, role, ACL_CREATE) == ACLCHECK_OK)
#else
#define once_may_create_in(schema, role) \
	(pg_namespace_aclcheck(schema, role, ACL_CREATE) == ACLCHECK_OK)
#endif

/* 16 replaced pg_class_ownercheck and its kin by object_ownercheck */
#if PG_VERSION_NUM >= 160000
#define once_is_table_owner(relid, role) \
	object_ownercheck(RelationRelationId, relid, role)
#else
#define once_is_table_owner(relid, role) \
	pg_class_ownercheck(relid, role)
#endif

#if PG_VERSION_NUM >= 160000
#define once_is_database_owner(oid, role) \
	object_ownercheck(DatabaseRelationId, oid, role)
#define once_is_extension_owner(oid, role) \
	object_ownercheck(ExtensionRelationId, oid, role)
#define once_may_connect(oid, role) \
	(object_aclcheck(DatabaseRelationId, oid, role, ACL_CONNECT) == ACLCHECK_OK)
#else
#define once_is_database_owner(oid, role) \
	pg_database_ownercheck(oid, role)
#define once_is_extension_owner(oid, role) \
	pg_extension_ownercheck(oid, role)
#define once_may_connect(oid, role) \
	(pg_database_aclcheck(oid, role, ACL_CONNECT) == ACLCHECK_OK)
#endif

/* 17 has getIdentitySequence take the relation, because it may be a partition */
#if PG_VERSION_NUM >= 170000
#define once_identity_sequence(rel, attnum) \
	getIdentitySequence(rel, attnum, true)
#else
#define once_identity_sequence(rel, attnum) \
	getIdentitySequence(RelationGetRelid(rel), attnum, true)
#endif

/* 16 has _bt_getroot take the table as well */
#if PG_VERSION_NUM >= 160000
#define once_bt_getroot(index, heap, access) \
	_bt_getroot(index, heap, access)
#else
#define once_bt_getroot(index, heap, access) \
	((void) (heap), _bt_getroot(index, access))
#endif

/* 17 gave LockHeldByMe an argument: whether stronger locks count as well */
#include "storage/lock.h"

#if PG_VERSION_NUM >= 170000
#define once_lock_held(tag, mode) \
	LockHeldByMe(tag, mode, false)
#else
#define once_lock_held(tag, mode) \
	LockHeldByMe(tag, mode)
#endif

/* 16 has simple_heap_update tell which indexes need new entries */
#if PG_VERSION_NUM >= 160000
#define once_heap_update(rel, tid, tuple) \
	do { \
		TU_UpdateIndexes which; \
		simple_heap_update(rel, tid, tuple, &which); \
	} while (0)
#else
#define once_heap_update(rel, tid, tuple) \
	simple_heap_update(rel, tid, tuple)
#endif

/*
 * once_define_index makes an index without checking the caller's right to create
 * in its schema and tablespace.  16 gave DefineIndex the number of a partitioned
 * table's partitions as an argument, -1 if it is not known.  19 gave it the state
 * of the parser, for the place of an error in the query.
 */
#include "commands/defrem.h"

static inline ObjectAddress
once_define_index(Oid relid, IndexStmt *stmt)
{
#if PG_VERSION_NUM >= 190000
	return DefineIndex(NULL, relid, stmt, InvalidOid, InvalidOid, InvalidOid, -1,
					   false, false, true, false, false);
#elif PG_VERSION_NUM >= 160000
	return DefineIndex(relid, stmt, InvalidOid, InvalidOid, InvalidOid, -1,
					   false, false, true, false, false);
#else
	return DefineIndex(relid, stmt, InvalidOid, InvalidOid, InvalidOid,
					   false, false, true, false, false);
#endif
}

/*
 * once_toast_options picks the options of the TOAST table out of those of a CREATE
 * TABLE, checks and returns them.  18 made the list of namespaces constant.
 */
#include "access/reloptions.h"
#include "catalog/pg_class.h"

static inline Datum
once_toast_options(List *options)
{
#if PG_VERSION_NUM >= 180000
	static const char *const namespaces[] = HEAP_RELOPT_NAMESPACES;
#else
	static char *namespaces[] = HEAP_RELOPT_NAMESPACES;
#endif
	Datum		toast_options = transformRelOptions((Datum) 0, options, "toast",
													namespaces, true, false);

	(void) heap_reloptions(RELKIND_TOASTVALUE, toast_options, true);
	return toast_options;
}

/* 18 has generated columns that are not stored */
#if PG_VERSION_NUM >= 180000
#define once_has_generated(constr) \
	((constr)->has_generated_stored || (constr)->has_generated_virtual)
#else
#define once_has_generated(constr) \
	((constr)->has_generated_stored)
#endif

/*
 * once_column_not_null tells whether no row of a table has a null in column
 * i + 1.  18 has NOT NULL constraints that are not valid: rows from before them
 * may have nulls, although attnotnull is set.
 */
#if PG_VERSION_NUM >= 180000
#define once_column_not_null(desc, i) \
	(TupleDescCompactAttr(desc, i)->attnullability == ATTNULLABLE_VALID)
#else
#define once_column_not_null(desc, i) \
	(TupleDescAttr(desc, i)->attnotnull)
#endif

/* 16 has memberships that do not include the right to SET ROLE */
#if PG_VERSION_NUM >= 160000
#define once_may_set_role(user, role) \
	member_can_set_role(user, role)
#else
#define once_may_set_role(user, role) \
	is_member_of_role(user, role)
#endif

/*
 * What we use of libpq/libpq.h; this has been the same since 15.  The header itself
 * includes those of GSSAPI and OpenSSL if the server was built with these, and
 * nothing else here needs them to be installed.
 */
#include "storage/latch.h"

#define FeBeWaitSetSocketPos 0

extern PGDLLIMPORT WaitEventSet *FeBeWaitSet;
extern bool pq_check_connection(void);

/* 16 gave stringToQualifiedNameList an argument for errors that are not raised */
#include "utils/regproc.h"

#if PG_VERSION_NUM >= 160000
#define once_qualified_names(string)	stringToQualifiedNameList(string, NULL)
#else
#define once_qualified_names(string)	stringToQualifiedNameList(string)
#endif

/* 16 gave EvalPlanQualInit another argument */
#if PG_VERSION_NUM >= 160000
#define once_eval_plan_qual_init(epqstate, estate) \
	EvalPlanQualInit(epqstate, estate, NULL, NIL, -1, NIL)
#else
#define once_eval_plan_qual_init(epqstate, estate) \
	EvalPlanQualInit(epqstate, estate, NULL, NIL, -1)
#endif

/*
 * once_delete_row deletes a row, and waits for another transaction that holds it if
 * "wait" says so.  19 replaced an argument of heap_delete by flags.
 */
#if PG_VERSION_NUM >= 190000
#define once_delete_row(rel, tid, wait, failure) \
	heap_delete(rel, tid, GetCurrentCommandId(true), 0, InvalidSnapshot, wait, failure)
#else
#define once_delete_row(rel, tid, wait, failure) \
	heap_delete(rel, tid, GetCurrentCommandId(true), InvalidSnapshot, wait, failure, false)
#endif

/*
 * once_prune_page prunes a page that is pinned, if that is worth it.  19 may pin a
 * page of the visibility map for the caller.
 */
#include "access/heapam.h"

static inline void
once_prune_page(Relation rel, Buffer buffer)
{
#if PG_VERSION_NUM >= 190000
	Buffer		map = InvalidBuffer;

	heap_page_prune_opt(rel, buffer, &map, false);
	if (BufferIsValid(map))
		ReleaseBuffer(map);
#else
	heap_page_prune_opt(rel, buffer);
#endif
}

/* Since 18, a publication that leaves out generated columns may forbid deletions */
#if PG_VERSION_NUM >= 180000
#define once_gencols_valid_for_delete(pubdesc)	((pubdesc)->gencols_valid_for_delete)
#else
#define once_gencols_valid_for_delete(pubdesc)	true
#endif

/* 19 gave table_beginscan flags */
#if PG_VERSION_NUM >= 190000
#define once_beginscan(rel, snapshot, nkeys, keys) \
	table_beginscan(rel, snapshot, nkeys, keys, SO_NONE)
#else
#define once_beginscan(rel, snapshot, nkeys, keys) \
	table_beginscan(rel, snapshot, nkeys, keys)
#endif

/* 19 made shared hash tables allocate all their entries at once */
#if PG_VERSION_NUM >= 190000
#define once_shmem_hash(name, size, ctl, flags) \
	ShmemInitHash(name, size, ctl, flags)
#else
#define once_shmem_hash(name, size, ctl, flags) \
	ShmemInitHash(name, size, size, ctl, flags)
#endif

/* 19 must be told when a tuple descriptor has all its columns */
#if PG_VERSION_NUM >= 190000
#define once_finish_tupdesc(desc)	TupleDescFinalize(desc)
#else
#define once_finish_tupdesc(desc)	((void) (desc))
#endif

/*
 * 19 made the mark of a case that goes on with the next one an attribute.  GCC
 * before 7 does not know it, and does not ask for a mark.
 */
#ifndef pg_fallthrough
#if __has_attribute(fallthrough)
#define pg_fallthrough __attribute__((fallthrough))
#else
#define pg_fallthrough ((void) 0)
#endif
#endif

/*
 * once_am_routine makes of an access method's routines what its handler returns.  19
 * keeps the pointer; before, what it points to was copied and freed.
 */
#include "access/amapi.h"

static inline const IndexAmRoutine *
once_am_routine(const IndexAmRoutine *routine)
{
#if PG_VERSION_NUM >= 190000
	return routine;
#else
	IndexAmRoutine *copy = palloc(sizeof(IndexAmRoutine));

	*copy = *routine;
	return copy;
#endif
}

/* So what GetIndexAmRoutineByAmId returns is freed before 19 only */
#if PG_VERSION_NUM >= 190000
#define once_free_am_routine(routine)	((void) (routine))
#else
#define once_free_am_routine(routine)	pfree(unconstify(IndexAmRoutine *, routine))
#endif

/* 16 renamed a relation's file node: RelFileNode to RelFileLocator */
#if PG_VERSION_NUM >= 160000
#define once_file_number(rel)	((rel)->rd_locator.relNumber)
#else
#define once_file_number(rel)	((rel)->rd_node.relNode)
#endif

#endif							/* ONCE_COMPAT_H */
