-- The API's role `npp_reader` reads the read model and writes nothing. Run once, as the projector's role in its database
-- (deploy/compose.yaml does): it may read what is there, and every generation that the projector makes later.
ALTER ROLE npp_reader SET default_transaction_read_only = on;
ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO npp_reader;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO npp_reader;
DO $$
DECLARE
    known name;
BEGIN
    FOR known IN SELECT nspname FROM pg_namespace WHERE nspname ~ '^npp_readmodel(_[0-9]+)?$' LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO npp_reader', known);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO npp_reader', known);
    END LOOP;
END
$$;
