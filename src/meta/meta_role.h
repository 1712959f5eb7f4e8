/*-------------------------------------------------------------------------
 *
 * meta_role.h
 *	  Commands that run as another role than the caller.
 *
 *-------------------------------------------------------------------------
 */
#ifndef META_ROLE_H
#define META_ROLE_H

/* Who one was before */
typedef struct OnceRole
{
	Oid			user;
	int			sec_context;
	int			guc_level;
} OnceRole;

extern Oid	once_schema_owner(void);
extern void once_role_assume(OnceRole *saved, Oid role, bool restricted);
extern void once_role_drop(const OnceRole *saved);
extern void once_run(const char *sql, int nargs, Oid *types, Datum *values);

#endif							/* META_ROLE_H */
