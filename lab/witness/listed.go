package witness

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"natlab/nat"
)

// A dump of entries takes the lock of each bucket of a table that is of all namespaces, some 5 ms for 262,144 of them, whatever it finds;
// the file of a namespace lists what is there in a tenth of that, without what natlab asks of an entry. Where there are few, each is asked for by the
// tuple that the file has of it.

// entryFile lists a namespace's entries, where the kernel was built with it (CONFIG_NF_CONNTRACK_PROCFS).
const entryFile = "/proc/thread-self/net/nf_conntrack"

// fewEntries are listed by the file and asked for one by one: more cost as much as a dump. A line of the file has room in lineRoom bytes, and some may come
// after they were counted.
const (
	fewEntries = 600
	lineRoom   = 400
	spareLines = 16
)

// Listed reads what the kernel's file nf_conntrack lists: of each entry the original tuple, and of ICMP's the type and the code. ok is
// false where the text has an entry that these do not name: of a zone, of a call, or of a kind that is not known.
func Listed(text []byte) (entries []nat.Entry, ok bool) {
	for line := range bytes.Lines(text) {
		e, ok := listedEntry(line)
		if !ok {
			return nil, false
		}
		entries = append(entries, e)
	}
	return entries, true
}

// listedEntry reads a line: family and its number, protocol and its number, seconds, a state where there is one, and the fields of the two tuples.
func listedEntry(line []byte) (e nat.Entry, ok bool) {
	words := bytes.Fields(line)
	if len(words) < 6 {
		return e, false
	}
	proto, err := strconv.ParseUint(string(words[3]), 10, 8)
	if err != nil || nat.Proto(proto) == nat.GRE {
		return e, false
	}
	var ends [2]netip.Addr
	var ports [2]uint16
	zoned := false
	seen := map[string]bool{}
	for _, w := range words[5:] {
		name, value, is := bytes.Cut(w, []byte("="))
		if !is {
			continue
		}
		zoned = zoned || bytes.HasPrefix(name, []byte("zone")) && string(value) != "0"
		if seen[string(name)] { // of the answers' tuple
			continue
		}
		seen[string(name)] = true
		var n uint64
		switch string(name) {
		case "src":
			ends[0], err = netip.ParseAddr(string(value))
		case "dst":
			ends[1], err = netip.ParseAddr(string(value))
		case "sport":
			n, err = strconv.ParseUint(string(value), 10, 16)
			ports[0] = uint16(n)
		case "dport":
			n, err = strconv.ParseUint(string(value), 10, 16)
			ports[1] = uint16(n)
		case "id":
			n, err = strconv.ParseUint(string(value), 10, 16)
			ports[0], ports[1] = uint16(n), uint16(n)
		case "type":
			n, err = strconv.ParseUint(string(value), 10, 8)
			e.Kind = uint8(n)
		case "code":
			n, err = strconv.ParseUint(string(value), 10, 8)
			e.Code = uint8(n)
		}
		if err != nil {
			return e, false
		}
	}
	if zoned || !ends[0].IsValid() || !ends[1].IsValid() || isICMPProto(nat.Proto(proto)) && !seen["id"] {
		return e, false
	}
	e.Original = nat.TupleOf(nat.Proto(proto), netip.AddrPortFrom(ends[0], ports[0]), netip.AddrPortFrom(ends[1], ports[1]))
	return e, true
}

// counted is how many entries the kernel counts in the namespace, with those that it has not confirmed yet.
func (m *member) counted() (count uint32, err error) {
	err = m.control.request(newMessage(ctGetStats, unix.NLM_F_ACK, unix.AF_UNSPEC, 0), func(kind uint16, body []byte) {
		a := frame{body: body}.attributes()
		for kind == ctGetStats {
			attr, value, more := a.next()
			if !more {
				return
			}
			if attr == ctStatsEntries {
				count = u32(value)
			}
		}
	})
	return count, err
}

// few lists the entries by the file, of which there were count a moment ago, and asks for each. ok is false where that is not all: where there
// is no such file, it has what is not understood, or the entries changed meanwhile.
func (m *member) few(count uint32) (out []nat.Conn, ok bool, err error) {
	if m.entryFile == nil {
		return nil, false, nil
	}
	text := make([]byte, (count+spareLines)*lineRoom)
	n, err := m.entryFile.ReadAt(text, 0)
	if !errors.Is(err, io.EOF) { // more than there is room for
		return nil, false, err
	}
	entries, ok := Listed(text[:n])
	if !ok {
		return nil, false, nil
	}
	for _, e := range entries {
		conn, err := m.entry(e)
		if errors.Is(err, unix.ENOENT) || err == nil && conn.Original != e.Original {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		out = append(out, conn)
	}
	now, err := m.counted()
	return out, int(now) == len(out), err
}

// entry asks for one entry by its original tuple.
func (m *member) entry(e nat.Entry) (conn nat.Conn, err error) {
	family := uint8(unix.AF_INET)
	if e.Original.Src().Addr().Is6() {
		family = unix.AF_INET6
	}
	ask := newMessage(ctGet, unix.NLM_F_ACK, family, 0)
	ask.tuple(ctaTupleOrig, e.Original, e.Kind, e.Code)
	var failed error
	err = m.control.request(ask, func(kind uint16, body []byte) {
		o, ok, err := m.connEvent(frame{kind: kind, body: body})
		if failed = errors.Join(failed, err); ok {
			conn = o.Conn
		}
	})
	return conn, errors.Join(err, failed)
}

// openEntryFile opens the file of the namespace of this thread; nil where there is none.
func openEntryFile() *os.File {
	f, err := os.Open(entryFile)
	if err != nil { // what it saves is time
		return nil
	}
	return f
}
