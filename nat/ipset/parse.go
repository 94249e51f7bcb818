package ipset

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"natlab/nat"
)

// Parse reads what `ipset save` prints, or `ipset list`. A set of a type that is not known is there, and nothing is known of what
// is in it (Sets.Unread); so is one whose members are not printed (ipset list -t). An error names the line.
func Parse(text string) (Sets, error) {
	r := reader{sets: Sets{}}
	for line := range strings.Lines(text) {
		r.number++
		if err := r.line(strings.TrimSpace(line)); err != nil {
			return nil, fmt.Errorf("line %d: %w", r.number, err)
		}
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("line %d: %w", r.number, err)
	}
	for _, set := range r.sets {
		for _, k := range set.lists {
			if r.sets[k.set] == nil {
				return nil, fmt.Errorf("set %s: its member %s is not there: give all sets that ipset save prints", set.Name, k.set)
			}
		}
	}
	return r.sets, nil
}

// reader reads sets line by line.
type reader struct {
	sets    Sets
	number  int
	set     *Set   // that ipset list prints
	name    string // of it, before its type is known
	entries int    // that it has by its own account; -1: it does not count them
	members bool   // they follow
}

func (r *reader) line(line string) error {
	words, err := split(line)
	switch {
	case err != nil:
		return err
	case r.name != "" || strings.HasPrefix(line, "Name: "):
		return r.listed(line, words)
	case len(words) == 0 || words[0][0] == '#':
		return nil
	case len(words) >= 3 && words[0] == "create":
		set := begin(words[1], words[2])
		r.sets[set.Name] = set
		return in(set, set.options(words[3:]))
	case len(words) >= 3 && words[0] == "add":
		set := r.sets[words[1]]
		if set == nil {
			return fmt.Errorf("set %s: it has not been created: give all that ipset save prints", words[1])
		}
		return in(set, set.add(words[2:]))
	}
	return fmt.Errorf("%q: want create or add, as ipset save prints them, or what ipset list prints", line)
}

func in(s *Set, err error) error {
	if err != nil {
		return fmt.Errorf("set %s: %w", s.Name, err)
	}
	return nil
}

// listed is a line of ipset list.
func (r *reader) listed(line string, words []string) error {
	label, value, labelled := strings.Cut(line, ": ")
	switch {
	case labelled && label == "Name":
		err := r.end()
		r.name, r.entries = value, -1
		return err
	case r.set == nil && label == "Type":
		r.set = begin(r.name, value)
		r.sets[r.name] = r.set
		return nil
	case line == "":
		if r.members {
			return r.end()
		}
		return nil
	case r.set == nil:
		return fmt.Errorf("set %s: %q: want Type, as ipset list prints it", r.name, line)
	case r.members:
		return in(r.set, r.set.add(words))
	case line == "Members:":
		r.members = true
		return nil
	case !labelled && !strings.HasSuffix(line, ":"):
		return fmt.Errorf("set %s: %q: want Members, as ipset list prints it", r.name, line)
	case label == "Header":
		return in(r.set, r.set.options(words[1:]))
	case label == "Number of entries":
		n, err := strconv.Atoi(value)
		r.entries = n
		return err
	}
	return nil
}

// end ends the set that ipset list prints.
func (r *reader) end() error {
	set := r.set
	defer func() { r.set, r.name, r.members = nil, "", false }()
	switch {
	case r.name == "":
		return nil
	case set == nil:
		return fmt.Errorf("set %s: its type is not there", r.name)
	case set.Unread != "":
		return nil
	case !r.members:
		set.Unread = "its members are not printed"
	case r.entries > set.count && !set.timed: // what has a timeout may go between the count and the list
		return fmt.Errorf("set %s: it has %d members, and %d are there: give all of them", set.Name, r.entries, set.count)
	}
	return nil
}

// split is a line in words; a comment in quotes is one word, without its quotes.
func split(line string) (words []string, err error) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimLeft(line, " \t") {
		word, rest := "", ""
		if quoted, is := strings.CutPrefix(line, `"`); is {
			var closed bool
			if word, rest, closed = strings.Cut(quoted, `"`); !closed {
				return nil, errors.New("a quote is not closed")
			}
		} else if end := strings.IndexAny(line, " \t"); end >= 0 {
			word, rest = line[:end], line[end:]
		} else {
			word = line
		}
		words, line = append(words, word), rest
	}
	return words, nil
}

// value takes the value of an option off the words behind it.
func value(words *[]string, option string) (string, error) {
	if len(*words) == 0 {
		return "", fmt.Errorf("%s: its value is missing", option)
	}
	v := (*words)[0]
	*words = (*words)[1:]
	return v, nil
}

// flag takes an option of create that has no value.
func (s *Set) flag(option string) bool {
	switch option {
	case "counters":
		s.counted = true
	case "skbinfo":
		s.marked = true
	case "forceadd":
		s.forced = true
	case "comment":
	default:
		return false
	}
	return true
}

// options are those of create, or of the header that ipset list prints.
func (s *Set) options(words []string) error {
	if s.Unread != "" {
		return nil
	}
	if strings.HasPrefix(s.Type, "hash:") {
		s.max = 65536
	}
	for len(words) > 0 {
		option := words[0]
		if words = words[1:]; s.flag(option) {
			continue
		}
		v, err := value(&words, option)
		if err == nil {
			err = s.option(option, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Set) option(option, v string) (err error) {
	switch option {
	case "family":
		switch v {
		case "inet":
		case "inet6":
			s.family = nat.IPv6
		default:
			return fmt.Errorf("family %q: want inet or inet6", v)
		}
	case "maxelem":
		s.max, err = number[int](v, 0, 1<<31-1)
	case "timeout":
		s.timed = true
		s.timeout, err = seconds(v)
	case "netmask":
		var bits int
		if bits, err = number[int](v, 1, uint64(s.width())); err == nil {
			s.mask = prefixMask(bits, s.width())
		}
	case "bitmask":
		s.mask, err = netip.ParseAddr(v)
		if err == nil && s.mask.BitLen() != s.width() {
			err = fmt.Errorf("bitmask %s: it is of the other family", v)
		}
	case "markmask":
		s.mark, err = number[uint32](v, 0, 1<<32-1)
	case "range":
		err = s.bounds(v)
	case "hashsize", "bucketsize", "initval", "size", "probes", "resize", "gc":
	default:
		return fmt.Errorf("%q: natlab does not know it; give what ipset save prints", option)
	}
	return err
}

func prefixMask(bits, width int) netip.Addr {
	ones := netip.IPv6Unspecified().AsSlice()[:width/8]
	for i := range ones {
		ones[i] = 0xff
	}
	a, _ := netip.AddrFromSlice(ones)
	p, _ := a.Prefix(bits)
	return p.Addr()
}

// bounds are the range of a bitmap.
func (s *Set) bounds(v string) (err error) {
	if s.Type == typeBitmapPort {
		low, high, _ := strings.Cut(v, "-")
		if s.ports[0], err = number[uint16](low, 0, 1<<16-1); err == nil {
			s.ports[1], err = number[uint16](high, 0, 1<<16-1)
		}
		return err
	}
	nets, err := networks(v)
	if err == nil {
		s.first, s.last = nets[0].Addr(), last(nets[len(nets)-1])
	}
	return err
}

func number[T int | uint16 | uint32 | uint64](text string, low, high uint64) (T, error) {
	n, err := strconv.ParseUint(text, 0, 64)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%q: want a number from %d to %d", text, low, high)
	}
	return T(n), nil
}

func seconds(text string) (time.Duration, error) {
	n, err := number[uint32](text, 0, 1<<32-1)
	return time.Duration(n) * time.Second, err
}
