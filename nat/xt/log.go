package xt

import (
	"slices"
	"strings"

	"natlab/nat/rules"
)

// Log is -j LOG: the packet is written into the kernel's log and goes on (xt_LOG.c).
type Log struct {
	Prefix string
	Level  uint8 // of syslog
	Flags  LogFlags
}

// LogFlags are the things that are logged besides (XT_LOG_*).
type LogFlags uint8

// logFlagNames are the options by their bits; one bit has none.
var logFlagNames = []string{"--log-tcp-sequence", "--log-tcp-options", "--log-ip-options", "--log-uid", "", "--log-macdecode"}

const (
	logPrefixSize   = 30
	logDefaultLevel = 4 // LOG_WARNING
	logMaxLevel     = 7
)

// logLevels are the names that --log-level takes, by level; "panic" is emerg.
var logLevels = []string{"emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"}

var logRow = Extension{
	Name: "LOG", Kind: TargetKind,
	Options: []Option{
		{Name: "--log-level", Values: 1},
		{Name: "--log-prefix", Values: 1},
		{Name: "--log-tcp-sequence"},
		{Name: "--log-tcp-options"},
		{Name: "--log-ip-options"},
		{Name: "--log-uid"},
		{Name: "--log-macdecode"},
	},
	Examples: []string{
		"", "--log-prefix plain", `--log-prefix "\"quoted\" and blanks: "`, "--log-level 7 --log-tcp-sequence --log-tcp-options --log-ip-options --log-uid --log-macdecode",
		"--log-prefix abc --log-level 0 --log-uid",
	},
	Parse: parseLog,
	// struct xt_log_info { unsigned char level, logflags; char prefix[30]; }
	Layouts: layouts(layout(0, 2+logPrefixSize,
		func(d []byte, _ *Env) (Log, bool) {
			t := Log{cString(d[2:]), d[0], LogFlags(d[1])}
			return t, t.Flags&^0x2f == 0
		},
		func(t Log, d []byte, _ *Env) error {
			d[0], d[1] = t.Level, uint8(t.Flags)
			return putString(d[2:], t.Prefix)
		})),
	Listed: listedLog,
}

func parseLog(a *Args) Value {
	t := Log{Level: logDefaultLevel}
	a.Once()
	for g := range a.Options {
		switch g.Name() {
		case "--log-prefix":
			t.Prefix = g.prefix(logPrefixSize - 1)
		case "--log-level":
			t.Level = g.level()
		default:
			t.Flags |= 1 << slices.Index(logFlagNames, g.Name())
		}
	}
	return t
}

// prefix is a log prefix, cut where it is too long, as iptables does without a word.
func (g *Given) prefix(longest int) string {
	s := g.Text()
	if s == "" || strings.ContainsAny(s, "\n\x00") {
		g.bad(0, "at least one character, and no newline")
	}
	return s[:min(len(s), longest)]
}

// level is a level of syslog, as a number or a name.
func (g *Given) level() uint8 {
	if g.Text() == "panic" {
		return 0
	}
	if i := slices.Index(logLevels, g.Text()); i >= 0 {
		return uint8(i)
	}
	n, ok := Number(g.Text(), logMaxLevel)
	if !ok {
		g.bad(0, "a number from 0 to 7 or one of "+strings.Join(logLevels, ", "))
	}
	return uint8(n)
}

// Name is "LOG".
func (Log) Name() string { return "LOG" }

// Save prints prefix, level and flags.
func (t Log) Save(p *Printer) {
	if t.Prefix != "" {
		p.Text(" --log-prefix")
		p.Quoted(t.Prefix)
	}
	if t.Level != logDefaultLevel {
		p.Number("--log-level", uint64(t.Level))
	}
	for i, o := range logFlagNames {
		p.Flag(o != "" && t.Flags&(1<<i) != 0, o)
	}
}

// List prints flags and level as numbers, as iptables -L -n does.
func (t Log) List(p *Printer) {
	p.Textf(" LOG flags %d level %d", t.Flags, t.Level)
	if t.Prefix != "" {
		p.Textf(` prefix "%s"`, t.Prefix)
	}
}

// listedLog reads both forms: "flags 1 level 4", and without -n "level warning tcp-sequence".
func listedLog(l *Listing) bool {
	if !l.TakeWord("LOG") {
		return false
	}
	if l.TakeWord("flags") {
		flags, ok := Number(l.Word(), 0xff)
		if !ok || flags&^0x2f != 0 {
			return false
		}
		for i, o := range logFlagNames {
			if flags&(1<<i) != 0 {
				l.Give(o, false)
			}
		}
	}
	if !l.TakeWord("level") {
		return false
	}
	level := l.Word()
	if full := map[string]string{"warn": "warning", "err": "error", "panic": "emerg"}[level]; full != "" {
		level = full
	}
	l.Give("--log-level", false, level)
	for _, o := range logFlagNames {
		if o != "" {
			l.Flag(strings.TrimPrefix(o, "--log-"), o)
		}
	}
	if l.Take(`prefix "`) {
		return l.GivePrefix("--log-prefix")
	}
	return true
}

// GivePrefix gives an option with the text up to the last quote, which stands at the line's end: quotes in it are printed as
// they are.
func (l *Listing) GivePrefix(option string) bool {
	end := strings.LastIndexByte(l.rest, '"')
	if end < 0 {
		return false
	}
	l.Give(option, false, l.rest[:end])
	l.rest = strings.TrimLeft(l.rest[end+1:], " ")
	return true
}

// Act goes on.
func (Log) Act(*rules.Visit) rules.Action { return rules.Continue() }
