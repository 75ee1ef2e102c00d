"""Texts, labelled by hand: `⟦kind:value⟧` marks what is private in them, and nothing else is."""

from __future__ import annotations

import base64
import re
from hashlib import sha256

from oblix.types.privacy import Finding

_MARK = re.compile("⟦([a-z_]+):([^⟧]*)⟧")


def parse(marked: str) -> tuple[str, tuple[Finding, ...]]:
    """The text without its marks, and where they were."""
    found = []
    text, after = "", 0
    for mark in _MARK.finditer(marked):
        text += marked[after : mark.start()]
        found.append(Finding(mark[1], len(text), len(text) + len(mark[2])))
        text += mark[2]
        after = mark.end()
    return text + marked[after:], tuple(found)


def grow(size: int, seed: str = "a", alphabet: str = "") -> str:
    """Characters as a generator writes them: made here, so that no scanner takes this file for a leak."""
    alphabet = alphabet or "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    stream = b"".join(sha256(f"{seed}{number}".encode()).digest() for number in range(size // 32 + 1))
    return "".join(alphabet[byte % len(alphabet)] for byte in stream[:size])


def coded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


HEX = "0123456789abcdef"
CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_CLAIMS = '{"sub":"1234567890","name":"Ada"}'
JWT = ".".join((coded('{"alg":"HS256","typ":"JWT"}'), coded(_CLAIMS), grow(43)))
NO_JWT = ".".join((coded('{"typ":"none of these"}'), coded(_CLAIMS), grow(43)))
BODY = "\n".join(grow(64, seed) for seed in "abcdef")
BEGIN, END = "-----BEGIN ", "-----END "  # apart from what follows them
PEM = f"{BEGIN}RSA PRIVATE KEY-----\n{BODY}\n{END}RSA PRIVATE KEY-----"
WHERE = "://"

PRIVATE = [
    # e-mail
    "Write to ⟦email:ada@example.com⟧ please.",
    "<⟦email:Grace.Hopper+navy@mail.example.co.uk⟧>",
    "mailto:⟦email:info@example.org⟧?subject=hi",
    "⟦email:müller@müller-söhne.de⟧ schreibt an ⟦email:o'neil@example.ie⟧.",
    "CC: ⟦email:a_b-c@sub.sub.example.museum⟧; ⟦email:x@y.io⟧",
    "Meine Adresse ist ⟦email:ada＠example.com⟧",
    "mail ⟦email:ada\u200b@example.com⟧ today",
    "请联系⟦email:wang@example.cn⟧。",
    "'⟦email:root@localhost.localdomain⟧'",
    "Send it to ⟦email:ada@example.com⟧.",
    # telephone
    "Call ⟦phone:+49 30 901820⟧ today",
    "Tel.: ⟦phone:+1 (415) 555-2671⟧",
    "⟦phone:+14155552671⟧",
    "⟦phone:+33 1 42 68 53 00⟧, or ⟦phone:01 42 68 53 00⟧",
    "UK office: ⟦phone:020 7946 0958⟧",
    "my mobile: ⟦phone:07700 900123⟧",
    "⟦phone:(415) 555-2671⟧ or ⟦phone:415-555-2671⟧ or ⟦phone:415.555.2671⟧",
    "toll free ⟦phone:1-800-555-0199⟧",
    "Festnetz ⟦phone:030/9018200⟧, mobil ⟦phone:0171-1234567⟧",
    "Tel. ⟦phone:612 345 678⟧",
    "phone ⟦phone:5551234⟧",
    "Brasil: ⟦phone:(11) 91234-5678⟧",
    "⟦phone:+91 98765 43210⟧ (India)",
    "⟦phone:0049 30 901820⟧",
    "WhatsApp ⟦phone:+55 11 91234-5678⟧",
    "⟦phone:+49\u00a030\u00a0901820⟧",
    "Téléphone : ⟦phone:601 234 567⟧; contraseña: ⟦password:Madrid99⟧",
    # cards
    "⟦card:4111 1111 1111 1111⟧",
    "card number ⟦card:4111111111111111⟧, exp 12/29",
    "MC ⟦card:5555-5555-5555-4444⟧!",
    "Amex ⟦card:3782 822463 10005⟧ and ⟦card:371449635398431⟧",
    "Diners: ⟦card:3056 930902 5904⟧ ⟦card:38520000023237⟧",
    "discover ⟦card:6011111111111117⟧ jcb ⟦card:3530111333300000⟧",
    "In 2024 ⟦card:4012 8888 8888 1881⟧ 12 29 123",
    "全角 ⟦card:４１１１ １１１１ １１１１ １１１１⟧ です",
    "⟦card:4111\u00a01111\u00a01111\u00a01111⟧",
    "⟦card:4111\u200b1111\u200b1111\u200b1111⟧",
    "⟦card:4111\u20111111\u20111111\u20111111⟧",
    "card=⟦card:4222222222222⟧ (old Visa card)",
    "name,card,exp\nAda,⟦card:5105105105105100⟧,2029",
    "Kreditkarte ⟦card:2223003122003222⟧.",
    '{"pan":"⟦card:4000056655665556⟧"}',
    # bank accounts
    "IBAN ⟦iban:DE89 3704 0044 0532 0130 00⟧",
    "⟦iban:DE89370400440532013000⟧",
    "⟦iban:de89 3704 0044 0532 0130 00⟧, bitte",
    "⟦iban:GB29 NWBK 6016 1331 9268 19⟧ BIC NWBKGB2L",
    "⟦iban:gb29nwbk60161331926819⟧",
    "⟦iban:FR14 2004 1010 0505 0001 3M02 606⟧",
    "⟦iban:NL91 ABNA 0417 1643 00⟧; ⟦iban:CH93 0076 2011 6238 5295 7⟧",
    "⟦iban:NO93 8601 1117 947⟧",
    "⟦iban:MT84 MALT 0110 0001 2345 MTLC AST0 01S⟧",
    "⟦iban:ES9121000418450200051332⟧ / ⟦iban:IT60X0542811101000000123456⟧",
    "⟦iban:AT61-1904-3002-3457-3201⟧",
    "⟦iban:DE89 37040044 0532013000⟧",
    "⟦iban:DE89\u00a03704\u00a00044\u00a00532\u00a00130\u00a000⟧",
    "⟦iban:ＤＥ８９３７０４００４４０５３２０１３０００⟧",
    # national numbers
    "SSN ⟦us_ssn:536-22-1234⟧",
    "social security: ⟦us_ssn:536221234⟧",
    "my ssn is ⟦us_ssn:536 22 1234⟧",
    "NI number ⟦uk_nino:AB 12 34 56 C⟧",
    "⟦uk_nino:AB123456C⟧",
    "Steuer-ID ⟦de_tax_id:86 095 742 719⟧",
    "Steueridentifikationsnummer: ⟦de_tax_id:86095742719⟧",
    "NIR ⟦fr_nir:2 55 08 14 168 025 38⟧",
    "sécu ⟦fr_nir:255081416802538⟧",
    "Mi DNI es ⟦es_dni:12345678Z⟧",
    "NIE: ⟦es_dni:X-1234567-L⟧, NIF ⟦es_dni:12.345.678-Z⟧",
    "codice fiscale ⟦it_codice_fiscale:RSSMRA85T10A562S⟧",
    "⟦it_codice_fiscale:rssmra85t10a562s⟧ - ⟦it_codice_fiscale:RSS MRA 85T10 A562S⟧",
    "BSN: ⟦nl_bsn:111222333⟧",
    "burgerservicenummer ⟦nl_bsn:1112.22.333⟧",
    "PESEL ⟦pl_pesel:44051401359⟧",
    "personnummer ⟦se_personnummer:811218-9876⟧",
    "Mitt personnr: ⟦se_personnummer:198112189876⟧",
    "CPF ⟦br_cpf:529.982.247-25⟧",
    "cpf: ⟦br_cpf:52998224725⟧",
    "Aadhaar ⟦in_aadhaar:2341 2341 2346⟧",
    "AHV ⟦ch_ahv:756.9217.0769.85⟧",
    "⟦ch_ahv:7569217076985⟧",
    # keys
    f"OPENAI_API_KEY=⟦api_key:sk-{grow(48)}⟧",
    f"use ⟦api_key:sk-proj-{grow(60, 'p')}⟧.",
    f"⟦api_key:sk-ant-api03-{grow(93, 'c')}AA⟧",
    f"git clone with ⟦api_key:ghp_{grow(36)}⟧ now",
    f"⟦api_key:github_pat_{grow(22)}_{grow(59, 'b')}⟧",
    f"aws_access_key_id = ⟦api_key:AKIA{grow(16, 'k', CAPITALS)}⟧",
    f"⟦api_key:ASIA{grow(16, 't', CAPITALS)}⟧",
    f"key=⟦api_key:AIza{grow(35)}⟧&v=3",
    f"⟦api_key:xoxb-{grow(12, 'x', '0123456789')}-{grow(24)}⟧",
    f"⟦api_key:glpat-{grow(20)}⟧",
    f"HF_TOKEN ⟦api_key:hf_{grow(34)}⟧",
    f"//registry.example/:_authToken=⟦api_key:npm_{grow(36)}⟧",
    f"⟦api_key:pypi-AgEIcHlw{grow(80)}⟧",
    f"⟦api_key:SG.{grow(22)}.{grow(43)}⟧",
    f"stripe.api_key = '⟦api_key:sk_live_{grow(24)}⟧'",
    f"Authorization: Bearer ⟦api_key:{grow(40)}⟧",
    f"-H 'authorization: bearer ⟦api_key:{grow(40, 'q')}⟧'",
    f"⟦jwt:{JWT}⟧",
    f"Authorization: Bearer ⟦jwt:{JWT}⟧\nAccept: */*",
    # passwords and secrets
    'password = "⟦password:hunter2⟧"',
    'password: ⟦password:12345678⟧, "password": "⟦password:654321⟧"',
    'passphrase = "⟦password:correct horse battery staple⟧"',
    "password: ⟦password:hunter2⟧",
    "my password is ⟦password:hunter2⟧.",
    "Mein Passwort ist ⟦password:Sommer2024!⟧",
    '{"user": "ada", "password": "⟦password:c0rrect-horse⟧"}',
    "DB_PASSWORD=⟦password:correcthorse⟧",
    "mysql --password ⟦password:tr0ub4dor⟧ -u root",
    "mysql --password=⟦password:tr0ub4dor&3⟧ -u root",
    "pwd='⟦password:s3cr3t!⟧'",
    "PGPASSWORD=⟦password:xK9vv2⟧ psql",
    "Kennwort: ⟦password:Geheim123⟧",
    f"postgres{WHERE}admin:⟦password:s3cr3t⟧@db.example.com:5432/app",
    f"redis{WHERE}:⟦password:p4ssw0rdX⟧@localhost:6379/0",
    f"amqp{WHERE}svc:⟦password:hunter22⟧@rabbit",
    f'api_key = "⟦secret:{grow(32, "h", HEX)}⟧"',
    f"client_secret: ⟦secret:{grow(40, 's')}⟧",
    f"SECRET_KEY='⟦secret:{grow(50, 'd')}⟧'",
    f"AWS_SECRET_ACCESS_KEY=⟦secret:{grow(40, 'w')}⟧",
    f'"access_token": "⟦secret:{grow(64, "t")}⟧"',
    f"token={'⟦secret:'}{grow(40, 'g', HEX)}⟧;",
    # private keys
    f"⟦pem:{PEM}⟧",
    f"key:\n⟦pem:{PEM}⟧\nthanks",
    f"⟦pem:{BEGIN}OPENSSH PRIVATE KEY-----\n{BODY}⟧",
    f"⟦pem:{BEGIN}PRIVATE KEY-----\\n{grow(60)}\\n{END}PRIVATE KEY-----⟧\\n",
    f"⟦pem:{BEGIN}PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\n{BODY}\n{END}PGP PRIVATE KEY BLOCK-----⟧",
    f"⟦pem:{BEGIN}EC PRIVATE KEY-----\n{BODY}⟧\n⟦pem:{PEM}⟧",
    # several
    "Ada, ⟦email:ada@example.com⟧, ⟦phone:+49 30 901820⟧, ⟦iban:DE89 3704 0044 0532 0130 00⟧, ⟦card:4111 1111 1111 1111⟧",
]

PUBLIC = [
    "",
    " ",
    "What is the capital of France?",
    "ISBN 978-3-16-148410-0 and ISBN 0-306-40615-2",
    "ISBN: 0306406152, ISSN 2049-3630",
    "EAN 4006381333931, GTIN 00012345600012",
    "On 2024-01-15, 15.01.2024, 01/15/2024, 15/01/24 and 20240115.",
    "2024-01-15T10:30:00+01:00 until 20240115T103000Z",
    "from 08:30-17:45, 2024-01-15 10:30:45,123",
    "v1.2.3, 10.15.7, 2024.1.0.post1, 3.11.0rc1, lodash@4.17.21",
    "550e8400-e29b-41d4-a716-446655440000",
    "{12345678-1234-1234-1234-123456789012}",
    "commit 3f786850e387550fdab836ed7e6dc881de23001b, short ab123456c",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "192.168.1.1, 10.0.0.254:8080, 010.020.030.040, 2001:db8::ff00:42:8329, fe80::1",
    "MAC 00:1A:2B:3C:4D:5E",
    "Order no. 00123-456789, invoice 2024-000123, ticket #4711-0815",
    "tracking 1Z999AA10123456784 and 9400 1000 0000 0000 0000 00",
    "The price is $1,234,567.89 or 1.234.567,89 EUR, 100 000 000 JPY.",
    "population 8 336 817, 83 000 000 and 1 400 000 000",
    "pi is 3.14159265358979323846, e 2.718281828459045",
    "0.4111111111111111 and 4111111111111111.5",
    "4111 1111 1111 1112 is one off; 4111111111111112 too",
    "DE89 3704 0044 0532 0130 01, GB29 NWBK 6016 1331 9268 18",
    "SSN 000-12-3456, 666-12-3456, 912-12-3456, 123-00-4567, 123-45-0000",
    "QQ123456C, AB123456E and BG123456A",
    "Steuer-ID 86 095 742 718",
    "PESEL 44051401358, BSN 111222334, DNI 12345678A, CPF 529.982.247-24, 111.111.111-11",
    "111222333 44051401359 12345678Z 2341 2341 2346",
    "AHV 756.9217.0769.84",
    "1700000000, 1700000000000 and 1700000000000000000",
    "id 1234567890123456789, snowflake 175928847299117063",
    "SKU 12-345-678, part no. 123-456-7890",
    "lat 52.520008, lon 13.404954; 52°31'12\"N",
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore.",
    "Le président (né en 1984) a dit : « non » — 12 000 personnes l'ont entendu à 20 h 30.",
    "Die Donaudampfschifffahrtsgesellschaft beförderte 1887 rund 3.500.000 Fahrgäste auf 28 Schiffen.",
    "一九八四年，河水已经低了好几个星期，村里没有人知道什么时候会下雨。2024年1月15日，温度为25.5度。",
    "東京の人口は約1400万人、面積は2,194平方キロメートルです。",
    "Привет, мир! В 2024 году было 12 345 678 запросов.",
    "مرحبا ٢٠٢٤",
    "👨‍👩‍👧 family 🙂",
    "def add(a: int, b: int) -> int:\n    return a + b  # 1 + 2 == 3\n",
    "for (int i = 0; i < 1000000; ++i) { sum += a[i] * b[i]; }",
    "@dataclass(frozen=True)\nclass A:\n    x: int = 0\n",
    "@app.route('/users/<int:id>')",
    "y = a@b.T",
    "icon@2x.png, logo@3x.jpg",
    "git clone git@github.com:user/repo.git",
    "npm i react@18.2.0 @types/node@20",
    "SELECT * FROM users WHERE id = 12345 AND created > '2024-01-15';",
    "[2024-01-15 10:30:45] INFO worker-3 handled 12345 requests in 0.123456 s (pid 4711)",
    '127.0.0.1 - - [15/Jan/2024:10:30:45 +0100] "GET / HTTP/1.1" 200 5316',
    "@@ -1,7 +1,9 @@\n-old\n+new",
    "+1 for this; +10000000 points; 2+12345678901",
    "f(12) 345 6789; (2015) 436-444; (1999) 12345 678",
    "01 02 03 04 05 06",
    "0 0 0 0 0 0 0 1 1 1 1 1 1 1 1",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
    "| 0.25 | 0.50 | 0.75 |\n| 012 | 345 | 678 |",
    "call 3 functions, phone home in 2024",
    "The password is required. Passwords must have 8 characters.",
    "password: str, password: Optional[str] = None, password = None",
    "password = getpass.getpass()\npassword = os.environ['DB_PASSWORD']",
    'password = "your_password_here"; password: "changeme"',
    "password=${DB_PASSWORD} password: {{ vault.pw }} password=<password> password: ********",
    'label = {"password": "Passwort", "email": "E-Mail"}',
    "kwargs(password=user_password, token=token)",
    "pass: 123456 fail: 2; 'password': 'must be given'",
    "I forgot my password and the pass was closed; the token of love",
    f"postgres{WHERE}user:password@host:5432/db and scheme{WHERE}user:pass@host",
    f"https{WHERE}${{USER}}:${{PASS}}@example.com/",
    f"http{WHERE}localhost:8080/@me and http{WHERE}[::1]:80/x@y",
    'api_key = "your_api_key"; OPENAI_API_KEY=sk-...; sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxx',
    "sk-learn-estimators-are-great-when-you-need-them, sk-top-container-id-1",
    "AKIAIOSFODNN7" + "EXAMPLE is the one of the manual",
    "hf_model_name_or_path_for_the_training_run and npm_config_registry",
    "Authorization: Bearer <token>; Bearer tokens are described in RFC 6750",
    "max_tokens = 4096, token_count: 1234567890123456, tokens: 12",
    "key: value, primary key = id, keyboard: qwertz, monkey=banana1234567890abc",
    "token = tokenizer_for_model_v2_large; secret = get_secret('name')",
    "secret_name: my-app-prod, secrets: [a, b], token: abc",
    f"{NO_JWT}",
    "eyJ and eyJhbGciOiJIUzI1NiJ9 alone",
    f"{BEGIN}CERTIFICATE-----\n{BODY}\n{END}CERTIFICATE-----",
    f"{BEGIN}PUBLIC KEY-----\n{BODY}\n{END}PUBLIC KEY-----",
    f"Look for a line with {BEGIN}RSA PRIVATE KEY----- in the file.",
    f"{BEGIN}PRIVATE KEY-----\n...\n{END}PRIVATE KEY-----",
    "https://example.com/a/b?c=1&d=2024-01-15#x",
    "C:\\Users\\ada\\file.txt and /usr/lib/python3.11/site-packages",
    "data:image/png;base64," + grow(300),
    "import numpy as np  # 3.14159, 1e-10, 0x7fffffff, 0b1010, 1_000_000",
    "5.1.1.1.1 Section 4.2.1; Art. 12 Abs. 3; § 139b AO",
    "ZIP 90210-1234, 02134-1234, PLZ 10115",
    "Flight LH 1234, seat 23A, gate B12, booking ABC123",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
    "rgb(255, 128, 0) #ff8800 rgba(0,0,0,.5)",
    "H2O, C6H12O6, 6.02214076e23, E=mc^2",
    "a@b, @, @@, a@, @b.com, a@.com, a@b., a@b.c",
]
