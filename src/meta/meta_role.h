/*-------------------------------------------------------------------------
 *
 * meta_role.h
 *	  Running commands as another role than the caller, and rights of roles.
 *
 *-------------------------------------------------------------------------
 */
#ifndef META_ROLE_H
#define META_ROLE_H

#include "utils/acl.h"
#include "utils/relcache.h"

/* The user before another role was assumed */
typedef struct OnceRole
{
	Oid			user;
	int			sec_context;
	int			guc_level;
} OnceRole;

extern Oid	once_role_schema_owner(void);
extern void once_role_assume(OnceRole *saved, Oid role, bool restricted);
extern void once_role_drop(const OnceRole *saved);
extern void once_role_run(const char *sql, int nargs, Oid *types, Datum *values);

extern bool once_role_runs_code(Relation table);
extern Oid	once_role_owner(Oid relid);
extern bool once_role_may_grant(Oid relid, AclMode privileges);
extern void once_role_grant(bool grant, const char *privileges, const char *tables,
							const char *role);

#endif							/* META_ROLE_H */
