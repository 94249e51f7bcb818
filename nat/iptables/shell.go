package iptables

import (
	"regexp"
	"slices"
	"strings"

	"natlab/nat"
)

// shellCommand is a call of one of the iptables programs on a shell's line.
type shellCommand struct {
	program string // "ip6tables-legacy"
	words   []word // of the command or rule, without -t and what only changes the output
	table   string // of -t
	list    bool   // it prints: -L, -S, iptables-save
	heredoc string // the word that ends the input that follows
	line    string
	number  int
	err     error
}

var (
	programName = regexp.MustCompile(`^(\S*/)?(ip6?tables)(-legacy|-nft)?(-save|-restore)?$`)
	variable    = regexp.MustCompile(`^\$\{?(\w+)\}?$`)
	hereWord    = regexp.MustCompile(`<<-?\s*['"]?(\w+)`)
)

// shellCommands are the calls of iptables programs on a line, whatever is before them: a prompt, sudo, another program that
// runs them. A line without one gives none.
func shellCommands(line string, number int) (all []shellCommand) {
	for _, part := range shellParts(line) {
		for i, w := range part {
			name, ok := isProgram(w)
			if !ok {
				continue
			}
			c := shellCommand{program: name, line: line, number: number}
			if m := hereWord.FindStringSubmatch(line); m != nil {
				c.heredoc = m[1]
			}
			c.take(part[i+1:])
			if len(c.words) > 0 || c.list {
				all = append(all, c)
			}
			break
		}
	}
	return all
}

// isProgram is the name of an iptables program, or of a variable of a script that stands for one.
func isProgram(w word) (name string, ok bool) {
	if m := programName.FindStringSubmatch(w.text); m != nil {
		return m[2] + m[3] + m[4], true
	}
	m := variable.FindStringSubmatch(w.text)
	if m == nil {
		return "", false
	}
	switch name := strings.ToLower(m[1]); name {
	case "ipt", "iptables", "ipt4", "iptables4":
		return "iptables", true
	case "ip6t", "ip6tables", "ipt6", "iptables6":
		return "ip6tables", true
	}
	return "", false
}

// take reads the arguments.
func (c *shellCommand) take(words []word) {
	if strings.HasSuffix(c.program, "-save") || strings.HasSuffix(c.program, "-restore") {
		c.list = true
		words = nil
	}
	words = unbundled(words)
	for at := 0; at < len(words); at++ {
		w := words[at]
		if strings.ContainsAny(w.text, "$`") && !w.quoted {
			c.err = &SyntaxError{c.number, w.start + 1, w.text + ": natlab runs no shell: want the value"}
			return
		}
		next := func() string {
			if at+1 < len(words) && !strings.HasPrefix(words[at+1].text, "-") {
				at++
				return words[at].text
			}
			return ""
		}
		name, joined, both := strings.Cut(w.text, "=")
		switch kind := short(name); {
		case kind == "-t" && both:
			c.table = joined
		case kind == "-t":
			c.table = next()
		case kind == "-w" || kind == "-W" || kind == "-M":
			next()
		case kind == "-v" || kind == "-n" || kind == "-x" || kind == "-0":
		case kind == "-L" || kind == "-S":
			c.list = true
		default:
			c.words = append(c.words, w)
		}
	}
	if c.table != "" && nat.TableHooks(c.table) == nil {
		c.err = &SyntaxError{c.number, 1, "table " + c.table + ": want raw, mangle, nat, filter or security"}
	}
}

var bundle = regexp.MustCompile(`^-([nvx]*)([LSt]?)(.*)$`)

// unbundled parts short options that stand in one word: "-nvL" is -n, -v and -L, "-tnat" is -t nat. What stands right behind
// -L or -S is a chain.
func unbundled(words []word) (out []word) {
	for _, w := range words {
		m := bundle.FindStringSubmatch(w.text)
		if m == nil || len(w.text) == 2 || m[1] == "" && m[2] == "" || m[2] == "" && m[3] != "" {
			out = append(out, w)
			continue
		}
		add := func(text string) {
			one := w
			one.text = text
			out = append(out, one)
		}
		for _, flag := range m[1] {
			add("-" + string(flag))
		}
		if m[2] != "" {
			add("-" + m[2])
		}
		if m[3] != "" {
			add(m[3])
		}
	}
	return out
}

// lists reports whether the command prints rules or reads them, so that what follows it is rules.
func (c shellCommand) lists() bool { return c.list }

// hint is what the command tells of the rules that it prints, or of its own.
func (c shellCommand) hint() hint {
	h := hint{known: true, family: familyOf(c.program), table: c.table}
	if h.table == "" && !strings.HasSuffix(c.program, "-save") && !strings.HasSuffix(c.program, "-restore") {
		h.table = "filter"
	}
	return h
}

// shellParts are the words of each command of a line, as a shell cuts them: quotes of both kinds group, a backslash takes the
// next byte as it is, and what is piped on or written to a file is not looked at.
func shellParts(line string) (parts [][]word) {
	var words []word
	skip := false // up to the next command
	end := func() {
		if len(words) > 0 {
			parts = append(parts, words)
		}
		words, skip = nil, false
	}
	for i := 0; i < len(line); {
		switch c := line[i]; {
		case blank(c):
			i++
		case c == ';' || strings.HasPrefix(line[i:], "&&") || strings.HasPrefix(line[i:], "||"):
			end()
			i++
			if c != ';' {
				i++
			}
		case strings.IndexByte("|><&", c) >= 0:
			skip = !prompted(words) // it may be the prompt's
			i++
		case c == '#' && len(words) > 0 && !prompted(words):
			i = len(line)
		default:
			w := shellWord(line, i)
			if !skip {
				words = append(words, w)
			}
			i = w.end
		}
	}
	end()
	return parts
}

// prompted reports whether no program has been called yet: a # is the prompt's then.
func prompted(words []word) bool {
	return !slices.ContainsFunc(words, func(w word) bool { _, ok := isProgram(w); return ok })
}

// shellWord takes the word that begins at start. Quoted tells that single quotes keep a $ from meaning anything.
func shellWord(line string, start int) word {
	var text []byte
	var quote byte
	w := word{start: start}
	i := start
	for ; i < len(line); i++ {
		c := line[i]
		switch {
		case quote == 0 && (blank(c) || strings.IndexByte(";|<>&", c) >= 0):
			w.text, w.end = string(text), i
			return w
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
			w.quoted = w.quoted || c == '\''
		case c == quote && quote != 0:
			quote = 0
		case c == '\\' && quote != '\'' && i+1 < len(line):
			i++
			text = append(text, line[i])
		default:
			text = append(text, c)
		}
	}
	w.text, w.end = string(text), i
	return w
}
