package conntrack

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"natlab/nat"
)

// ErrNoTime is an event whose time is not told.
var ErrNoTime = errors.New("want the time in front of an event, as conntrack -E -o timestamp prints it")

// EachEvent calls each with what conntrack -E -o timestamp printed, a line at a time: "[1764201600.123456]\t    [NEW] tcp      6 120 SYN_SENT src=..."
// Lines of conntrack -L may be among them, which is what was there when the events begin: of the kind that is none, without a time. An error names the line.
func EachEvent(r io.Reader, each func(at time.Time, e nat.Event) error) error {
	lines := bufio.NewScanner(r)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "conntrack ") {
			continue
		}
		at, e, err := parseEvent(line)
		if err == nil {
			err = each(at, e)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	return lines.Err()
}

func parseEvent(line string) (at time.Time, e nat.Event, err error) {
	words := strings.Fields(line)
	if first := strings.Trim(words[0], "[]"); strings.Contains(first, ".") && strings.HasPrefix(words[0], "[") {
		if at, err = parseStamp(first); err != nil {
			return at, e, err
		}
		words = words[1:]
	}
	if len(words) > 0 && strings.HasPrefix(words[0], "[") {
		if err := e.Kind.UnmarshalText([]byte(strings.Trim(words[0], "[]"))); err != nil {
			return at, e, err
		}
		if at.IsZero() {
			return at, e, ErrNoTime
		}
		words = words[1:]
	}
	c, err := parseEntry(words)
	if err != nil {
		return at, e, err
	}
	e.Entry = nat.Entry{Conn: nat.Conn{Original: c.Original, Reply: c.Reply, Status: c.Status, Mark: c.Mark}, Zone: c.Zone.In(nat.Reply)}
	return at, e, nil
}

// parseStamp reads seconds of the Unix time and, behind a dot, microseconds.
func parseStamp(text string) (time.Time, error) {
	whole, part, _ := strings.Cut(text, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err == nil && seconds >= 0 && len(part) == 6 {
		var micro uint64
		if micro, err = strconv.ParseUint(part, 10, 32); err == nil {
			return time.Unix(seconds, int64(micro)*1000).UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q: want seconds and six digits behind a dot", text)
}
