-- Everything that the catalogs say about the extension and about all relations in its schema, one line for each property of each
-- object, without what differs from one installation to another (oids, sizes).  Two databases in which this is the same behave the
-- same.  For psql.

SET search_path = pg_catalog;

CREATE FUNCTION pg_temp.rights(acl aclitem[], kind "char", owner oid) RETURNS text LANGUAGE sql AS $$
SELECT string_agg(format('%s has %s from %s%s', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END, privilege_type, pg_get_userbyid(grantor),
                         CASE WHEN is_grantable THEN ', grantable' END), '; ' ORDER BY pg_get_userbyid(grantee), privilege_type, pg_get_userbyid(grantor))
  FROM aclexplode(COALESCE(acl, acldefault(kind, owner))) $$;

CREATE FUNCTION pg_temp.describe(class oid, object oid, sub integer) RETURNS text LANGUAGE sql AS $$
SELECT regexp_replace(pg_describe_object(class, object, sub), '\d{4,}', 'N', 'g') $$;

CREATE FUNCTION pg_temp.init_rights(class regclass, object oid, kind "char", owner oid) RETURNS text LANGUAGE sql AS $$
SELECT pg_temp.rights((SELECT initprivs FROM pg_init_privs WHERE classoid = class AND objoid = object AND objsubid = 0), kind, owner) $$;

CREATE TEMP VIEW relation AS
SELECT * FROM pg_class WHERE relnamespace = 'once'::regnamespace;

CREATE TEMP VIEW catalog (class, object, properties) AS
SELECT 'extension', extname::text,
       jsonb_build_object('version', extversion, 'schema', extnamespace::regnamespace, 'relocatable', extrelocatable, 'owner', pg_get_userbyid(extowner),
                          'comment', obj_description(oid))
  FROM pg_extension WHERE extname = 'pg_once'
UNION ALL
SELECT 'dumped table', x.relid::regclass::text, jsonb_build_object('condition', x.condition)
  FROM pg_extension, unnest(extconfig, extcondition) AS x (relid, condition) WHERE extname = 'pg_once'
UNION ALL
SELECT 'member', pg_temp.describe(classid, objid, objsubid), '{"of": "pg_once"}'
  FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_once')
UNION ALL
SELECT 'schema', nspname, jsonb_build_object('owner', pg_get_userbyid(nspowner), 'rights', pg_temp.rights(nspacl, 'n', nspowner),
       'initial rights', pg_temp.init_rights('pg_namespace', oid, 'n', nspowner), 'comment', obj_description(oid, 'pg_namespace'))
  FROM pg_namespace WHERE nspname = 'once'
UNION ALL
SELECT 'function', p.oid::regprocedure::text,
       to_jsonb(p) - '{oid,pronamespace,proowner,prolang,provariadic,prosupport,prorettype,proargtypes,proallargtypes,proargdefaults,prosqlbody,proacl,protrftypes}'::text[]
       || jsonb_build_object('owner', pg_get_userbyid(proowner), 'definition', pg_get_functiondef(oid), 'rights', pg_temp.rights(proacl, 'f', proowner),
                             'initial rights', pg_temp.init_rights('pg_proc', oid, 'f', proowner), 'comment', obj_description(oid, 'pg_proc'))
  FROM pg_proc p WHERE pronamespace = 'once'::regnamespace
UNION ALL
SELECT 'type', oid::regtype::text,
       to_jsonb(t) - '{oid,typnamespace,typowner,typrelid,typelem,typarray,typbasetype,typcollation,typdefaultbin,typacl}'::text[]
       || jsonb_build_object('owner', pg_get_userbyid(typowner), 'rights', pg_temp.rights(typacl, 'T', typowner),
                             'initial rights', pg_temp.init_rights('pg_type', oid, 'T', typowner), 'comment', obj_description(oid, 'pg_type'))
  FROM pg_type t WHERE typnamespace = 'once'::regnamespace
UNION ALL
SELECT 'relation', c.oid::regclass::text,
       to_jsonb(c) - '{oid,relnamespace,reltype,reloftype,relowner,relam,relfilenode,relpages,reltuples,relallvisible,relallfrozen,reltoastrelid,relrewrite,relfrozenxid,relminmxid,relacl,relpartbound}'::text[]
       || jsonb_build_object('owner', pg_get_userbyid(c.relowner), 'method', (SELECT amname FROM pg_am WHERE oid = c.relam),
                             'toast options', (SELECT reloptions FROM pg_class t WHERE t.oid = c.reltoastrelid), 'toasted', c.reltoastrelid <> 0,
                             'parents', (SELECT jsonb_agg(inhparent::regclass) FROM pg_inherits WHERE inhrelid = c.oid),
                             'bound', pg_get_expr(c.relpartbound, c.oid), 'key', CASE c.relkind WHEN 'p' THEN pg_get_partkeydef(c.oid) END,
                             'rights', pg_temp.rights(c.relacl, (CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char", c.relowner),
                             'initial rights', pg_temp.init_rights('pg_class', c.oid, (CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char", c.relowner),
                             'comment', obj_description(c.oid, 'pg_class'))
  FROM relation c
UNION ALL
SELECT 'column', a.attrelid::regclass || '.' || a.attname,
       to_jsonb(a) - '{attrelid,atttypid,attcollation,attmissingval,atthasmissing,attcacheoff,attacl,attoptions}'::text[]
       || jsonb_build_object('type', format_type(a.atttypid, a.atttypmod), 'collation', a.attcollation::regcollation,
                             -- Some servers stamp each column of any table
                             'options', (SELECT jsonb_agg(o) FROM unnest(a.attoptions) o WHERE o !~ '^pg_attver='), 'rights', a.attacl::text,
                             'default', (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = a.attrelid AND adnum = a.attnum),
                             'comment', col_description(a.attrelid, a.attnum))
  FROM pg_attribute a JOIN relation c ON c.oid = a.attrelid WHERE a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'sequence', s.seqrelid::regclass::text, to_jsonb(s) - '{seqrelid,seqtypid}'::text[] || jsonb_build_object('type', s.seqtypid::regtype)
  FROM pg_sequence s JOIN relation c ON c.oid = s.seqrelid
UNION ALL
SELECT 'constraint', o.conname || ' of ' || o.conrelid::regclass,
       jsonb_build_object('definition', pg_get_constraintdef(o.oid), 'validated', o.convalidated, 'local', o.conislocal, 'inherited', o.coninhcount,
                          'no inherit', o.connoinherit, 'comment', obj_description(o.oid, 'pg_constraint'))
  FROM pg_constraint o JOIN relation c ON c.oid = o.conrelid
UNION ALL
SELECT 'index', i.indexrelid::regclass::text,
       to_jsonb(i) - '{indexrelid,indrelid,indcollation,indclass,indkey,indoption,indexprs,indpred,indcheckxmin}'::text[]
       || jsonb_build_object('definition', pg_get_indexdef(i.indexrelid))
  FROM pg_index i JOIN relation c ON c.oid = i.indrelid
UNION ALL
SELECT 'trigger', t.tgname || ' of ' || t.tgrelid::regclass,
       jsonb_build_object('definition', pg_get_triggerdef(t.oid), 'enabled', t.tgenabled, 'comment', obj_description(t.oid, 'pg_trigger'))
  FROM pg_trigger t JOIN relation c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal
UNION ALL
SELECT 'rule', r.rulename || ' of ' || r.ev_class::regclass, jsonb_build_object('definition', pg_get_ruledef(r.oid), 'enabled', r.ev_enabled)
  FROM pg_rewrite r JOIN relation c ON c.oid = r.ev_class
UNION ALL
SELECT 'policy', p.polname || ' of ' || p.polrelid::regclass, to_jsonb(p) - '{oid,polrelid}'::text[]
  FROM pg_policy p JOIN relation c ON c.oid = p.polrelid
UNION ALL
SELECT 'access method', amname, jsonb_build_object('handler', amhandler::regproc, 'type', amtype, 'comment', obj_description(oid, 'pg_am'))
  FROM pg_am WHERE amname = 'once_queue'
UNION ALL
SELECT 'operator class', opcname, jsonb_build_object('for', opcintype::regtype, 'default', opcdefault, 'stored', opckeytype::regtype,
       'method', (SELECT amname FROM pg_am WHERE oid = opcmethod), 'family', pg_temp.describe('pg_opfamily'::regclass, opcfamily, 0), 'comment', obj_description(oid, 'pg_opclass'))
  FROM pg_opclass WHERE opcnamespace = 'once'::regnamespace
UNION ALL
SELECT 'event trigger', evtname, jsonb_build_object('event', evtevent, 'function', evtfoid::regproc, 'enabled', evtenabled, 'tags', evttags)
  FROM pg_event_trigger
UNION ALL
SELECT 'dependency', pg_temp.describe(d.classid, d.objid, d.objsubid) || ' on ' || pg_temp.describe(d.refclassid, d.refobjid, d.refobjsubid), jsonb_build_object('kind', d.deptype)
  FROM pg_depend d
 WHERE EXISTS (SELECT FROM pg_identify_object(d.classid, d.objid, d.objsubid) o WHERE o.schema = 'once' OR o.identity LIKE '%once.%')
 GROUP BY 2, 3;

SELECT c.class || ' ' || c.object || ': ' || p.key || ' = ' || COALESCE(replace(p.value, E'\n', ' '), 'NULL')
  FROM catalog c, jsonb_each_text(c.properties) p ORDER BY 1;
