package xt

import (
	"slices"
	"strings"

	"natlab/nat"
)

// Listing is what iptables -L -n prints behind a rule's columns, while it is being read: texts that extensions take from
// its beginning, and the options that they give for them.
type Listing struct {
	Family   nat.Family
	Protocol nat.Proto // of the rule's column; 0 for all, and for all others
	Excluded nat.Proto // the one that the column excludes; 0 for none
	Unnamed  string    // stands for a name that is not printed; the rule's own
	Missing  string    // what the extension that was read last leaves out; "" for nothing
	rest     string
	alias    string
	row      *Extension // that is being read
	given    []listed
}

// listed is an option that stands for a listed text.
type listed struct {
	option string
	not    bool
	values []string
}

// NewListing is a Listing of a text.
func NewListing(text string, f nat.Family) *Listing {
	return &Listing{Family: f, Unnamed: "unlisted", rest: strings.TrimSpace(text)}
}

// Rest is what has not been taken yet.
func (l *Listing) Rest() string { return l.rest }

// Take takes a prefix, with the blanks behind it, if the rest begins with it.
func (l *Listing) Take(prefix string) bool {
	rest, ok := strings.CutPrefix(l.rest, prefix)
	if ok {
		l.rest = strings.TrimLeft(rest, " ")
	}
	return ok
}

// TakeWord takes a whole word if it is the next one.
func (l *Listing) TakeWord(word string) bool {
	rest, ok := strings.CutPrefix(l.rest, word)
	if ok = ok && (rest == "" || rest[0] == ' '); ok {
		l.rest = strings.TrimLeft(rest, " ")
	}
	return ok
}

// Word takes the next word, "" at the end.
func (l *Listing) Word() string {
	word, rest, _ := strings.Cut(l.rest, " ")
	l.rest = strings.TrimLeft(rest, " ")
	return word
}

// Quoted takes the next word, or what xtables_save_string put into quotes; ok is false for a quote that is not closed.
func (l *Listing) Quoted() (text string, ok bool) {
	if !strings.HasPrefix(l.rest, `"`) {
		return l.Word(), true
	}
	var b strings.Builder
	for i := 1; i < len(l.rest); i++ {
		switch c := l.rest[i]; {
		case c == '\\' && i+1 < len(l.rest):
			i++
			b.WriteByte(l.rest[i])
		case c == '"':
			l.rest = strings.TrimLeft(l.rest[i+1:], " ")
			return b.String(), true
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}

// Run takes what comes next as far as it has only some characters.
func (l *Listing) Run(chars string) string {
	end := len(l.rest) - len(strings.TrimLeft(l.rest, chars))
	text := l.rest[:end]
	l.rest = strings.TrimLeft(l.rest[end:], " ")
	return text
}

// Through takes all up to an end, and the end, which is not part of the result; ok is false where there is none.
func (l *Listing) Through(end string) (text string, ok bool) {
	text, rest, ok := strings.Cut(l.rest, end)
	if ok {
		l.rest = strings.TrimLeft(rest, " ")
	}
	return text, ok
}

// Bang takes a "!", if one is next.
func (l *Listing) Bang() bool { return l.Take("!") }

// Called is the name by which the rule calls the extension, where it is an alias.
func (l *Listing) Called(alias string) { l.alias = alias }

// Give gives an option with its values.
func (l *Listing) Give(option string, not bool, values ...string) {
	l.given = append(l.given, listed{option, not, values})
}

// Value takes a text with a word behind it, which is an option's value.
func (l *Listing) Value(text, option string, not bool) bool {
	ok := l.Take(text)
	if ok {
		l.Give(option, not, l.Word())
	}
	return ok
}

// Options takes the extension's options, each at most once, where they are printed with another prefix than --. It reports
// whether there was one.
func (l *Listing) Options(prefix string) (some bool) {
	for {
		was := *l
		not := l.TakeWord("!")
		word := l.Word()
		name, ok := strings.CutPrefix(word, prefix)
		i := slices.IndexFunc(l.row.Options, func(o Option) bool { return o.Name == "--"+name })
		if !ok || i < 0 || l.Gave("--"+name) {
			*l = was
			return some
		}
		var values []string
		for range l.row.Options[i].Values {
			value, closed := l.Quoted()
			if !closed {
				*l = was
				return some
			}
			values = append(values, value)
		}
		l.Give("--"+name, not, values...)
		some = true
	}
}

// Gave reports whether an option was given.
func (l *Listing) Gave(option string) bool {
	return slices.ContainsFunc(l.given, func(g listed) bool { return g.option == option })
}

// Flag takes a word and gives an option for it, if it is the next one.
func (l *Listing) Flag(word, option string) {
	if l.TakeWord(word) {
		l.Give(option, false)
	}
}

// ReadListed takes what iptables -L printed of the extension from l and makes its value; ok is false, and l stays as it
// was, where that is not what comes next, or where no option prints so.
func (x *Extension) ReadListed(l *Listing) (v Value, ok bool) {
	if x.Listed == nil {
		return nil, false
	}
	was := *l
	l.alias, l.row, l.given, l.Missing = x.Name, x, nil, ""
	if x.Listed(l) {
		if v, ok = x.fromListed(l); ok {
			return v, true
		}
	}
	*l = was
	return nil, false
}

// Silent is the extension's value where iptables -L prints nothing of it but its name, or nothing at all: that of no options,
// if it is listed so. The rule calls the extension by an alias, or by its name.
func (x *Extension) Silent(alias string, f nat.Family, protocol nat.Proto) (Value, bool) {
	v, wrong := x.Read(&Args{Family: f, Alias: alias, Protocol: protocol})
	if wrong != nil {
		return nil, false
	}
	p := NewPrinter(nil, f)
	v.(Lister).List(p)
	return v, p.String() == "" || p.String() == " "+alias
}

func (x *Extension) fromListed(l *Listing) (Value, bool) {
	a := &Args{Family: l.Family, Alias: l.alias, Protocol: l.Protocol}
	for _, given := range l.given {
		i := slices.IndexFunc(x.Options, func(o Option) bool { return o.Name == given.option })
		if i < 0 || len(given.values) != x.Options[i].Values && (!x.Options[i].Maybe || len(given.values) != 1) {
			return nil, false
		}
		g := Given{Option: x.Options[i], Not: given.not, At: Word{Text: given.option}, Protocol: l.Protocol, Excluded: l.Excluded}
		for _, v := range given.values {
			g.Values = append(g.Values, Word{Text: v})
		}
		a.Give(g)
	}
	if a.Err() != nil {
		return nil, false
	}
	v, wrong := x.Read(a)
	return v, wrong == nil
}

// listedValue reads what is one option's value behind some words, with a "!" in front of it or not.
func listedValue(words, option string) func(*Listing) bool {
	return func(l *Listing) bool {
		if !l.Take(words) {
			return false
		}
		l.Give(option, l.Bang(), l.Word())
		return true
	}
}

// cutLast cuts a text at the last place of a byte.
func cutLast(s string, sep byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
