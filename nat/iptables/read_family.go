package iptables

import (
	"net/netip"
	"strings"

	"natlab/nat"
)

// families decides of which family each unit is: the one that a command or comment names, that its words have, or that of
// the units around it, as far as that has no such table yet.
func (r *reader) families() {
	for _, u := range r.units {
		if !u.known {
			u.family, u.known = r.evidence(u)
		}
		if u.known && u.whole() {
			r.taken[place{u.family, u.table}] = true
		}
	}
	for i, u := range r.units {
		if u.known {
			continue
		}
		var order []nat.Family
		for j := i - 1; j >= 0; j-- {
			order = append(order, r.units[j].family)
		}
		for _, o := range r.units[i+1:] {
			if o.known {
				order = append(order, o.family)
			}
		}
		u.default4 = len(order) == 0 && len(r.units) == 1 && u.asks(r)
		u.family, u.known = r.free(u, append(order, nat.IPv4, nat.IPv6)), true
		if u.whole() {
			r.taken[place{u.family, u.table}] = true
		}
	}
}

// free is the first family that has no such table yet.
func (r *reader) free(u *unit, order []nat.Family) nat.Family {
	for _, f := range order {
		if !u.whole() || !r.taken[place{f, u.table}] {
			return f
		}
	}
	return order[0]
}

// asks reports whether the unit has rules at all.
func (u *unit) asks(r *reader) bool {
	if !u.whole() {
		return true
	}
	for _, line := range r.lines[u.from:u.to] {
		if strings.Contains(line, "-A ") {
			return true
		}
	}
	return false
}

// evidence is the family that the first telling word of a unit has.
func (r *reader) evidence(u *unit) (f nat.Family, ok bool) {
	if u.whole() {
		for _, line := range r.lines[u.from:u.to] {
			if f, ok := familyInLine(line); ok {
				return f, true
			}
		}
		return f, false
	}
	for _, w := range u.rows {
		if f, ok := familyInLine(w.line); ok {
			return f, true
		}
	}
	return f, false
}

// familyInLine is the family that the words of a rule have, its comments aside.
func familyInLine(line string) (f nat.Family, ok bool) {
	quoted := false
	for word := range strings.FieldsSeq(line) {
		if word[0] == '#' {
			break
		}
		begins := word[0] == '"'
		ends := len(word) > 1 && word[len(word)-1] == '"' && !strings.HasSuffix(word, `\"`)
		if quoted || begins {
			quoted = !ends
			continue
		}
		if f, ok := familyOfWord(word); ok {
			return f, true
		}
	}
	return f, false
}

func familyOfWord(word string) (f nat.Family, ok bool) {
	switch {
	case word == "icmp6" || word == "icmpv6" || word == "ipv6-icmp" || strings.HasPrefix(word, "icmp6-"):
		return nat.IPv6, true
	case word == "icmp" || strings.HasPrefix(word, "icmp-"):
		return nat.IPv4, true
	}
	if strings.Count(word, ":") < 2 && strings.Count(word, ".") < 3 {
		return f, false
	}
	word = strings.TrimPrefix(word, "[")
	if at := strings.IndexAny(word, "]/,-"); at >= 0 {
		word = word[:at]
	}
	if at := strings.IndexByte(word, ':'); at >= 0 && strings.Count(word, ":") == 1 {
		word = word[:at] // ADDRESS:PORT
	}
	a, err := netip.ParseAddr(word)
	return nat.FamilyOf(a), err == nil
}

// familyOf is the family of a program's name.
func familyOf(program string) nat.Family {
	if strings.Contains(program, "6") {
		return nat.IPv6
	}
	return nat.IPv4
}
