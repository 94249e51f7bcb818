package iptables

import (
	"fmt"
	"regexp"
	"strings"

	"natlab/nat"
	"natlab/nat/xt"
)

// rule is what a line of iptables -L tells of a rule of a family. What it leaves open is a condition that is not known, and
// a note.
func (l *listedRule) rule(family nat.Family, devices bool) (Rule, []string) {
	r := listedReader{listedRule: l, rr: ruleReader{family: family}}
	r.rr.rule = Rule{Packets: l.packets, Bytes: l.bytes, Line: l.line}
	r.protocolColumn()
	r.rr.source = r.addressColumn("-s", l.source)
	r.rr.destination = r.addressColumn("-d", l.destination)
	r.rr.in, r.rr.out = deviceColumn("-i", l.in), deviceColumn("-o", l.out)
	switch l.fragment {
	case "-f":
		r.rr.fragment = Fragment{}
	case "!f":
		r.rr.fragment = Fragment{Not: true}
	}
	r.texts()
	out := r.rr.appendRules(nil)[0]
	if !devices {
		out.Matches = append(out.Matches, UnlistedDevices{})
	}
	return out, r.notes
}

// oldFlags is how some releases of iptables 1.4 print --tcp-flags behind a port: "dpt:22flags: 0x17/0x02".
var oldFlags = regexp.MustCompile(`(\b[ds]pts?:!?[\w:-]*?)flags: ?`)

// listedReader makes a rule of a line.
type listedReader struct {
	*listedRule
	rr    ruleReader
	notes []string
}

func (r *listedReader) note(format string, v ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, v...))
}

// unknown adds a condition of which only a text is known.
func (r *listedReader) unknown(text, why string) {
	r.rr.rule.Matches = append(r.rr.rule.Matches, Unlisted{text})
	r.note("%s: %s: whether a packet meets it is unknown", text, why)
}

func (r *listedReader) protocolColumn() {
	name, not := strings.CutPrefix(r.protocol, "!")
	p, ok := nat.ParseRuleProto(name)
	switch {
	case !ok:
		r.unknown(strings.TrimPrefix(bangIf(not)+" -p "+name, " "), "a protocol that natlab does not know")
	case p != 0:
		r.rr.protocol = Protocol{not, p.RuleName()}
		if r.rr.number = p; not {
			r.rr.number, r.rr.excluded = 0, p
		}
	}
}

func bangIf(not bool) string {
	if not {
		return "!"
	}
	return ""
}

// addressColumn is what a column asks for: nil for any address.
func (r *listedReader) addressColumn(kind, text string) []xt.Match {
	name, not := strings.CutPrefix(text, "!")
	host, mask, masked := strings.Cut(name, "/")
	if name == "anywhere" { // of IPv6 without -n whatever the length is: ::/8 is printed so, too
		name = anyPrefix(r.rr.family)
	} else if known, ok := listedHosts[host][r.rr.family]; ok {
		r.note("%s is taken for %s, as everywhere", host, known)
		if name = known; masked {
			name += "/" + mask
		}
	}
	m, reason := r.rr.address(kind, name, not)
	switch {
	case reason != "":
		r.unknown(strings.TrimPrefix(bangIf(not)+" "+kind+" "+name, " "), "a name, which natlab does not look up (iptables -L -n prints the address)")
		return nil
	case m == nil:
		return nil
	}
	return []xt.Match{m}
}

func anyPrefix(f nat.Family) string {
	if f == nat.IPv6 {
		return "::/0"
	}
	return "0.0.0.0/0"
}

func deviceColumn(kind, text string) xt.Match {
	name, not := strings.CutPrefix(text, "!")
	switch {
	case name == "" || name == "*" || name == "any" || name == "+":
		return nil
	case kind == "-i":
		return InInterface{not, name}
	}
	return OutInterface{not, name}
}

// texts reads what stands behind the columns: [goto], the matches, the target's options. Words that nobody can read are a
// condition that is not known.
func (r *listedReader) texts() {
	family := r.rr.family
	l := xt.NewListing(oldFlags.ReplaceAllString(r.behind, "$1 flags:"), family)
	l.Unnamed = fmt.Sprintf("line-%d", r.line)
	l.Protocol, l.Excluded = r.rr.number, r.rr.excluded
	target := r.targetRow(l.TakeWord("[goto]"))
	var unread []string
	flush := func() {
		if len(unread) > 0 {
			r.unknown(strings.Join(unread, " "), "natlab cannot read it")
			unread = nil
		}
	}
	for l.Rest() != "" {
		if v := r.next(l, target); v != nil {
			flush()
			r.add(v)
			if l.Missing != "" {
				r.note("%s: iptables -L does not print %s", v.Name(), l.Missing)
				l.Missing = ""
			}
			continue
		}
		unread = append(unread, l.Word())
	}
	if target != nil && r.rr.rule.Target == nil {
		unread = r.lastTarget(target, l.Protocol, unread)
	}
	flush()
}

// add puts a match or a target into the rule.
func (r *listedReader) add(v xt.Value) {
	switch v := v.(type) {
	case xt.Target:
		r.rr.rule.Target = v
	case xt.Match:
		r.rr.rule.Matches = append(r.rr.rule.Matches, v)
	}
}

// next reads what comes next, nil for a word that begins nothing.
func (r *listedReader) next(l *xt.Listing, target *xt.Extension) xt.Value {
	wanted := target != nil && r.rr.rule.Target == nil
	if name, _, _ := strings.Cut(l.Rest(), " "); l.TakeWord(name + unsupported) {
		if wanted && name == r.target {
			r.note("-j %s: iptables did not know the revision that the kernel has: what the target does is unknown", name)
			return xt.RawTarget{Extension: name, Options: unsupported[1:]}
		}
		r.note("-m %s: iptables did not know the revision that the kernel has: whether a packet meets it is unknown", name)
		return Unlisted{"-m " + name + unsupported}
	}
	if wanted {
		if v, ok := target.ReadListed(l); ok {
			return v
		}
	}
	if m := listedMatch(l); m != nil {
		return m
	}
	return nil
}

const unsupported = " [unsupported revision]"

// listedMatch reads the match that comes next, nil for none.
func listedMatch(l *xt.Listing) xt.Match {
	for _, x := range xt.Extensions() {
		if x.Kind != xt.MatchKind || !x.Families.Has(l.Family) {
			continue
		}
		if v, ok := x.ReadListed(l); ok {
			return v.(xt.Match)
		}
	}
	return nil
}

// targetRow sets a target that has no options, or is the row of one that has.
func (r *listedReader) targetRow(goes bool) *xt.Extension {
	rule := &r.rr.rule
	switch name := r.target; {
	case name == "":
	case goes:
		rule.Target = xt.Goto{Chain: name}
	case plainTargets[name] != nil:
		rule.Target = plainTargets[name]
	default:
		if x, ok := xt.Find(name, xt.TargetKind, r.rr.family); ok {
			return x
		}
		rule.Target = xt.Jump{Chain: name}
	}
	return nil
}

// plainTargets are those of x_tables itself.
var plainTargets = map[string]xt.Target{"ACCEPT": xt.Accept{}, "DROP": xt.Drop{}, "RETURN": xt.Return{}, "QUEUE": xt.Queue{}}

// lastTarget is a target whose options nobody read: one of which -L prints nothing, or the last words are its options.
func (r *listedReader) lastTarget(x *xt.Extension, p nat.Proto, unread []string) (left []string) {
	text := strings.Join(unread, " ")
	if v, silent := x.Silent(r.target, r.rr.family, p); silent {
		r.rr.rule.Target = v.(xt.Target)
		return unread
	}
	r.rr.rule.Target = xt.RawTarget{Extension: r.target, Options: text}
	r.note("-j %s: natlab cannot read its options %q: what it does is unknown", r.target, text)
	return nil
}
