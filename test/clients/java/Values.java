// What values become with JDBC, and what does not work

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import org.postgresql.util.PGInterval;
import org.postgresql.util.PGobject;

public class Values {
    static Connection connection;

    static void check(boolean condition) {
        if (!condition) {
            throw new AssertionError();
        }
    }

    static Object value(String sql, Object... parameters) throws SQLException {
        try (var statement = connection.prepareStatement(sql)) {
            for (int i = 0; i < parameters.length; i++) {
                statement.setObject(i + 1, parameters[i]);
            }
            try (var rows = statement.executeQuery()) {
                return rows.next() ? rows.getObject(1) : null;
            }
        }
    }

    static void fails(String sqlstate, String sql, Object... parameters) {
        try {
            value(sql, parameters);
        } catch (SQLException error) {
            check(error.getSQLState().equals(sqlstate));
            return;
        }
        throw new AssertionError("no error");
    }

    public static void main(String[] arguments) throws SQLException {
        connection = DriverManager.getConnection(System.getenv("JDBC_URL"));
        for (String payload : new String[] {"{\"order\": 1}", "null", null}) {
            value("SELECT once.send('values', ?::jsonb)", payload);
        }

        // What arrives.  getObject of a payload is a PGobject, and getString is its JSON.
        List<UUID> receipts = new ArrayList<>();
        List<String> payloads = new ArrayList<>();
        try (var statement = connection.prepareStatement("SELECT * FROM once.lease('values', '1 min', 10)");
                var rows = statement.executeQuery()) {
            while (rows.next()) {
                check(rows.getLong("id") > 0 && rows.getString("headers") == null);
                check(rows.getObject("leased_until", OffsetDateTime.class)
                        .isAfter(rows.getObject("enqueued_at", OffsetDateTime.class)));
                check(rows.getObject("payload") == null || rows.getObject("payload") instanceof PGobject);
                receipts.add(rows.getObject("receipt", UUID.class));
                payloads.add(rows.getString("payload"));
            }
        }
        check(payloads.get(0).equals("{\"order\": 1}") && payloads.get(1).equals("null") && payloads.get(2) == null);

        // What is sent
        check((Long) value("SELECT once.ack_all(?)", connection.createArrayOf("uuid", receipts.toArray())) == 3);
        value("SELECT once.send('values', ?::jsonb, delay => ?::interval)", "1", "10 s");
        value("SELECT once.send('values', ?::jsonb, delay => ?)", "1", new PGInterval("10 s"));
        value("SELECT once.send('values', ?::jsonb, deliver_at => ?)", "1", OffsetDateTime.now());
        value("SELECT once.send_batch('values', ?, group_ids => ?)",
                connection.createArrayOf("jsonb", new Object[] {"1", "{\"order\": 2}"}),
                connection.createArrayOf("text", new Object[] {"a", null}));
        check((Long) value("SELECT once.redrive_ids('values', ?)", connection.createArrayOf("bigint", new Object[] {1L, 2L})) == 0);

        // What fails without a cast: a string in place of jsonb, interval or uuid
        fails("42883", "SELECT once.send('values', ?)", "1");
        fails("42883", "SELECT once.send('values', '1', delay => ?)", "10 s");
        fails("42883", "SELECT once.try_ack(?)", receipts.get(0).toString());

        // With stringtype=unspecified, PostgreSQL chooses the type of a string.
        connection = DriverManager.getConnection(System.getenv("JDBC_URL") + "&stringtype=unspecified");
        value("SELECT once.send('values', ?, delay => ?)", "1", "10 s");
        check(!(Boolean) value("SELECT once.try_ack(?)", receipts.get(0).toString()));
    }
}
