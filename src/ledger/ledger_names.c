/*-------------------------------------------------------------------------
 *
 * ledger_names.c
 *	  From a name to the relations of a ledger.
 *
 * Finding a ledger takes no lock on its tables.  A transaction may have locked one
 * of them to empty it, and nobody else should have to wait for that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "catalog/pg_class.h"
#include "ledger/ledger_names.h"
#include "meta/meta_cache.h"
#include "meta/meta_catalog.h"
#include "meta/meta_citus.h"
#include "meta/meta_retention.h"
#include "meta/meta_role.h"
#include "miscadmin.h"
#include "once_args.h"
#include "once_error.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* How the names of a ledger's relations begin, by kind */
static const char *const prefixes[] = {ONCE_LEDGER_PREFIX, ONCE_DEDUP_PREFIX};

/* and how they end, by part */
static const char *const suffixes[LEDGER_NPARTS] = {"0", "1", "state"};

/* What a backend remembers of a ledger, until it hears of a change */
typedef struct LedgerEntry
{
	NameData	relname;		/* key: prefix and name of the ledger */
	uint64		epoch;
	bool		other_seen;		/* the generation that does not count was
								 * checked, and can be used */
	OnceLedger	ledger;
} LedgerEntry;

/* When there are this many entries, all are forgotten */
#define LEDGER_SWEEP_AT		1024

static HTAB *entries = NULL;

static LedgerEntry *find_entry(NameData *key, OnceLedgerKind kind, const char *name);
static bool find_ledger(OnceLedger *ledger, OnceLedgerKind kind, const char *name);

/*
 * once_ledger_relname returns the name of a relation that a ledger is made of.
 * part: the number of a generation, or LEDGER_PART_STATE.
 */
char *
once_ledger_relname(OnceLedgerKind kind, const char *name, int part)
{
	return psprintf("%s%s_%s", prefixes[kind], name, suffixes[part]);
}

/*
 * once_ledger_find finds a ledger by its name.  Returns false if it does not exist.
 * retention is for a ledger that belongs to a queue; that of other ledgers is in
 * once.ledger.  Takes no lock, and checks no rights.
 */
bool
once_ledger_find(OnceLedger *ledger, OnceLedgerKind kind, const char *name,
				 int64 retention)
{
	NameData	key;
	LedgerEntry *entry;

	AcceptInvalidationMessages();
	entry = find_entry(&key, kind, name);
	if (entry != NULL && entry->epoch == once_meta_epoch())
		*ledger = entry->ledger;
	else
	{
		uint64		epoch = once_meta_epoch();
		bool		found = find_ledger(ledger, kind, name);

		if (!found)
			return false;

		/* If anything has changed meanwhile, the epoch is another one by now */
		if (entry == NULL && hash_get_num_entries(entries) >= LEDGER_SWEEP_AT)
		{
			HASH_SEQ_STATUS status;

			hash_seq_init(&status, entries);
			while ((entry = hash_seq_search(&status)) != NULL)
				hash_search(entries, &entry->relname, HASH_REMOVE, NULL);
		}
		entry = hash_search(entries, &key, HASH_ENTER, &found);
		entry->epoch = epoch;
		entry->other_seen = false;
		entry->ledger = *ledger;
	}
	if (kind == ONCE_LEDGER_DEDUP)
		ledger->retention = retention;
	return true;
}

/*
 * once_ledger_other_seen tells whether this backend has seen that the generation
 * that does not count can be used, and has heard of no change since.  Also true if it
 * does not remember the ledger.
 */
bool
once_ledger_other_seen(const OnceLedger *ledger)
{
	NameData	key;
	LedgerEntry *entry = find_entry(&key, ledger->kind, NameStr(ledger->name));

	return entry == NULL || entry->other_seen;
}

/*
 * once_ledger_note_other remembers that the generation that does not count can be
 * used.
 */
void
once_ledger_note_other(const OnceLedger *ledger)
{
	NameData	key;
	LedgerEntry *entry = find_entry(&key, ledger->kind, NameStr(ledger->name));

	if (entry != NULL)
		entry->other_seen = true;
}

/*
 * find_entry returns what is remembered of a ledger, up to date or not, or NULL.  It
 * also makes the key.
 */
static LedgerEntry *
find_entry(NameData *key, OnceLedgerKind kind, const char *name)
{
	if (entries == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(NameData);
		ctl.entrysize = sizeof(LedgerEntry);
		ctl.hcxt = TopMemoryContext;
		entries = hash_create("pg_once ledgers", 16, &ctl,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	memset(key, 0, sizeof(NameData));
	snprintf(NameStr(*key), NAMEDATALEN, "%s%s", prefixes[kind], name);
	return hash_search(entries, key, HASH_FIND, NULL);
}

static bool
find_ledger(OnceLedger *ledger, OnceLedgerKind kind, const char *name)
{
	Interval	retention;

	if (!once_ledger_find_relations(ledger, kind, name))
		return false;
	if (kind == ONCE_LEDGER_OWN)
	{
		if (!once_retention_read(name, &retention))
			return false;
		ledger->retention = once_interval_usec(&retention);
	}
	return true;
}

/*
 * once_ledger_find_relations finds the relations of a ledger, whether or not it has a
 * retention.  Returns false if one of them is missing.
 */
bool
once_ledger_find_relations(OnceLedger *ledger, OnceLedgerKind kind, const char *name)
{
	Oid			schema = once_schema_oid(false);
	int			g;

	memset(ledger, 0, sizeof(OnceLedger));
	ledger->kind = kind;
	namestrcpy(&ledger->name, name);
	for (g = 0; g < 2; g++)
	{
		ledger->table[g] = get_relname_relid(once_ledger_relname(kind, name, g), schema);
		if (!OidIsValid(ledger->table[g]) ||
			get_rel_relkind(ledger->table[g]) != RELKIND_RELATION)
			return false;
		if (once_citus_distributes(ledger->table[g]))
			ledger->distributed = true;
	}
	ledger->owner = once_role_owner(ledger->table[0]);
	ledger->owners_differ = ledger->owner != once_role_owner(ledger->table[1]);
	ledger->sequence = get_relname_relid(once_ledger_relname(kind, name, LEDGER_PART_STATE),
										 schema);
	if (!OidIsValid(ledger->sequence) ||
		get_rel_relkind(ledger->sequence) != RELKIND_SEQUENCE)
		return false;
	return true;
}

/*
 * once_ledger_permits tells whether the caller has all of these rights on both
 * tables of a ledger.
 */
bool
once_ledger_permits(const OnceLedger *ledger, AclMode rights)
{
	Oid			user = GetUserId();

	return pg_class_aclmask(ledger->table[0], user, rights, ACLMASK_ALL) == rights &&
		pg_class_aclmask(ledger->table[1], user, rights, ACLMASK_ALL) == rights;
}

/*
 * once_ledger_relnames returns the names of those tables of a ledger that exist.
 */
List *
once_ledger_relnames(OnceLedgerKind kind, const char *name)
{
	Oid			schema = once_schema_oid(false);
	List	   *relnames = NIL;
	int			g;

	for (g = 0; g < 2; g++)
	{
		char	   *relname = once_ledger_relname(kind, name, g);
		Oid			relid = get_relname_relid(relname, schema);

		if (OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_RELATION)
			relnames = lappend(relnames, relname);
	}
	return relnames;
}

/*
 * once_ledger_tables returns them as a list for DROP TABLE or GRANT, with schema and
 * quotes, or NULL if there are none.
 */
char *
once_ledger_tables(OnceLedgerKind kind, const char *name)
{
	char	   *tables = NULL;
	ListCell   *lc;

	foreach(lc, once_ledger_relnames(kind, name))
		tables = psprintf("%s%s%s", tables ? tables : "", tables ? ", " : "",
						  quote_qualified_identifier(ONCE_SCHEMA, lfirst(lc)));
	return tables;
}

/*
 * once_ledger_check_whole raises once_ledger_unusable if a table of a ledger exists
 * and another part is missing.
 */
void
once_ledger_check_whole(OnceLedgerKind kind, const char *name)
{
	Oid			schema = once_schema_oid(false);
	char	   *tables = once_ledger_tables(kind, name);
	const char *missing = NULL;
	int			part;

	for (part = 0; part < LEDGER_NPARTS; part++)
	{
		char	   *relname = once_ledger_relname(kind, name, part);
		char		relkind = get_rel_relkind(get_relname_relid(relname, schema));

		missing = quote_qualified_identifier(ONCE_SCHEMA, relname);
		if (relkind != (part == LEDGER_PART_STATE ? RELKIND_SEQUENCE : RELKIND_RELATION))
			break;
	}
	if (tables == NULL || part == LEDGER_NPARTS)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_ONCE_LEDGER_UNUSABLE),
			 once_ledger_errmsg_unusable(kind, name),
			 part != LEDGER_PART_STATE ?
			 errdetail("Table %s is missing.", missing) :
			 errdetail("Sequence %s is missing.  It goes with column \"id\" of the table that owns it.",
					   missing),
			 kind == ONCE_LEDGER_OWN ?
			 errhint("Its owner can drop what is left of it with once.drop_ledger.") :
			 errhint("Its owner can run DROP TABLE %s, and create the tables again with once.alter_queue.",
					 tables)));
}

/*
 * once_ledger_errmsg_unusable makes the message of once_ledger_unusable.
 */
int
once_ledger_errmsg_unusable(OnceLedgerKind kind, const char *name)
{
	return kind == ONCE_LEDGER_OWN ?
		errmsg("ledger \"%s\" cannot be used", name) :
		errmsg("deduplication of queue \"%s\" cannot be used", name);
}

/*
 * once_ledger_raise_not_found raises once_ledger_not_found, or once_ledger_unusable if
 * only some parts of the ledger exist.  If the ledger is that of a queue, it raises
 * once_queue_not_found.
 */
void
once_ledger_raise_not_found(OnceLedgerKind kind, const char *name)
{
	OnceLedger	ledger;

	if (kind == ONCE_LEDGER_DEDUP)
		once_raise_no_queue(name);
	if (once_ledger_find_relations(&ledger, kind, name))
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_LEDGER_NOT_FOUND),
				 errmsg("ledger \"%s\" does not exist", name),
				 errdetail("Its tables exist without a retention, as after a restore of the structure only."),
				 errhint("Their owner can call once.create_ledger with if_not_exists => true.")));
	once_ledger_check_whole(kind, name);
	ereport(ERROR,
			(errcode(ERRCODE_ONCE_LEDGER_NOT_FOUND),
			 errmsg("ledger \"%s\" does not exist", name),
			 errhint("once.list_ledgers() lists the ledgers of this database.  Names are case-sensitive.")));
}
