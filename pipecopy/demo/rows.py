"""The demo's table, filled by the server itself, and its checksum."""

from __future__ import annotations

TABLE = "CREATE TABLE profiles (id BIGSERIAL PRIMARY KEY, data JSONB)"

CHECKSUM = "SELECT count(*), md5(string_agg(md5(p::text), '' ORDER BY id)) FROM profiles AS p"
"""The number of rows and a checksum of all their values; servers with equal tables agree."""


def one_row(key: int) -> str:
    """Return the statement that inserts a row of that id."""
    return f"INSERT INTO profiles (id) VALUES ({key})"  # noqa: S608 - a number is all that is put in


def filling(rows: int) -> str:
    """Return the statement that fills the table with rows of about 400 bytes, no two alike."""
    return f"""
        INSERT INTO profiles (data)
        SELECT jsonb_build_object(
            'name', first || ' ' || last,
            'email', lower(translate(first || '.' || last, 'áéíłößšü', 'aeilossu')) || i
                || '@example.' || (ARRAY['org', 'com', 'net'])[1 + i % 3],
            'born', date '1950-01-01' + i % 20000 * 37 % 20000,
            'score', round(i % 99991 * 7919 % 99991 / 1000.0, 2),
            'verified', i % 3 > 0,
            'referrer', CASE WHEN i % 10 > 0 THEN i / 10 END,
            'tags', to_jsonb((ARRAY['reader', 'écrivain', 'デザイン', 'chess', 'bicycle', '🎸'])
                [1 + i % 4 : 3 + i % 4]),
            'address', jsonb_build_object(
                'street', (ARRAY['Lindenstraße', 'Rue de l''Église', 'High Street', 'ul. Łąkowa'])
                    [1 + i / 5 % 4] || ' ' || 1 + i % 180,
                'zip', lpad((i % 69000 * 31 % 100000)::text, 5, '0'),
                'position', jsonb_build_array(
                    47 + i % 8000 / float8 '1000', 5 + i % 9000 / float8 '1000')
            ),
            'about', 'Says "' || md5(i::text) || '" \\ and: ' || md5((-i)::text)
        )
        FROM (
            SELECT i,
                (ARRAY['Anna', 'José', 'Miloš', 'Yuki', 'Chloé', 'Jörg', 'Amina', 'Łukasz'])
                    [1 + i % 8] AS first,
                (ARRAY['Müller', 'García', 'Novák', '佐藤', 'Dupont', 'Weiß', 'Diallo'])
                    [1 + i / 8 % 7] AS last
            FROM generate_series(1, {rows}) AS i
        ) AS people
    """  # noqa: S608 - a number is all that is put in
