package nftables

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// token is a word of a listing.
type token struct {
	text   string
	quoted bool
	line   int // from 1
}

// The token of a line's end; a ";" is one, too.
const newline = "\n"

// lex takes a text to pieces. Comments are left out, but for the handles that nft -a prints and the warning of iptables-nft's tables.
func lex(text string) (out []token, err error) {
	line := 1
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '\n':
			out = append(out, token{text: newline, line: line})
			line++
			i++
		case c == ';':
			out = append(out, token{text: newline, line: line})
			i++
		case c == ' ' || c == '\t' || c == '\r':
			i++
		case c == '\\' && strings.HasPrefix(text[i+1:], "\n"):
			line++
			i += 2
		case c == '"':
			end := strings.IndexByte(text[i+1:], '"')
			if end < 0 || strings.Contains(text[i+1:i+1+end], "\n") {
				return nil, fmt.Errorf("line %d: a quote is not closed", line)
			}
			out = append(out, token{text: text[i+1 : i+1+end], quoted: true, line: line})
			i += end + 2
		case c == '#' && compat.MatchString(text[i:]):
			m := compat.FindStringSubmatch(text[i:])
			out = append(out, token{text: "xt", line: line}, token{text: compatKind(m[1]), line: line}, token{text: m[1], quoted: true, line: line})
			i += len(m[0])
		case c == '#':
			end := strings.IndexByte(text[i:], '\n')
			if end < 0 {
				end = len(text) - i
			}
			out = append(out, remark(text[i:i+end], line)...)
			i += end
		case strings.IndexByte("{},()", c) >= 0:
			out = append(out, token{text: string(c), line: line})
			i++
		default:
			end := strings.IndexAny(text[i:], " \t\r\n;{},()\"")
			if end < 0 {
				end = len(text) - i
			}
			out = append(out, token{text: text[i : i+end], line: line})
			i += end
		}
	}
	return append(out, token{text: newline, line: line}), nil
}

// The tokens of comments that count: a handle's number follows its own.
const (
	handleMark = "# handle"
	managed    = "# Warning: table"
)

// compat is what nft prints of an extension of iptables where it was built without libxtables (xt_stmt_xlate): "# xt_set", with the rest of the rule
// behind it.
var compat = regexp.MustCompile(`^# xt_(\w+)`)

// compatKind is what kind of extension a name is: targets' are of capital letters.
func compatKind(name string) string {
	if strings.ToUpper(name) == name {
		return "target"
	}
	return "match"
}

func remark(comment string, line int) []token {
	if n, ok := strings.CutPrefix(comment, handleMark+" "); ok {
		return []token{{text: handleMark, line: line}, {text: strings.TrimSpace(n), line: line}}
	}
	if strings.HasPrefix(comment, managed) && strings.Contains(comment, "iptables-nft") {
		return []token{{text: managed, line: line}}
	}
	return nil
}

// stream reads tokens one by one. The first error stays.
type stream struct {
	tokens []token
	at     int
	err    error
}

// peek is the token so many further on; a line's end behind the last.
func (s *stream) peek(ahead int) token {
	if s.at+ahead < len(s.tokens) {
		return s.tokens[s.at+ahead]
	}
	return token{text: newline, line: s.line()}
}

func (s *stream) line() int {
	if len(s.tokens) == 0 {
		return 1
	}
	return s.tokens[min(s.at, len(s.tokens)-1)].line
}

func (s *stream) next() token {
	t := s.peek(0)
	s.at = min(s.at+1, len(s.tokens))
	return t
}

func (s *stream) over() bool { return s.at >= len(s.tokens) || s.err != nil }

// is reports whether the next token is a word; one in quotes is none.
func (s *stream) is(word string) bool { t := s.peek(0); return t.text == word && !t.quoted }

// take takes the next token if it is a word.
func (s *stream) take(word string) bool {
	if s.at < len(s.tokens) && s.is(word) {
		s.at++
		return true
	}
	return false
}

// want takes a word that has to be there.
func (s *stream) want(word string) {
	if !s.take(word) {
		s.failf("want %s, got %s", shown(word), shown(s.peek(0).text))
	}
}

func shown(word string) string {
	if word == newline {
		return "the end of the line"
	}
	return strconv.Quote(word)
}

func (s *stream) failf(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("line %d: %s", s.line(), fmt.Sprintf(format, args...))
	}
}

// ends takes what ends a line.
func (s *stream) ends() {
	for s.take(newline) {
	}
}

// number takes a number.
func (s *stream) number(bits int) uint64 {
	t := s.next()
	n, err := strconv.ParseUint(t.text, 0, bits)
	if err != nil {
		s.at--
		s.failf("number %q: want one of at most %d bits", t.text, bits)
	}
	return n
}

// duration takes a time: "5m".
func (s *stream) duration() time.Duration {
	t := s.next()
	d, ok := parseDuration(t.text)
	if !ok {
		s.at--
		s.failf("time %q: want one such as 1h30m", t.text)
	}
	return d
}
