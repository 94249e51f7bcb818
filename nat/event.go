package nat

import (
	"fmt"
	"strings"
)

// EventKind is what happened to a connection, by ctnetlink's names (enum nf_conntrack_msg_types of libnetfilter_conntrack).
type EventKind uint8

// The kinds. The zero kind is no event.
const (
	_       EventKind = iota
	New               // it was confirmed
	Updated           // its state, status or mark changed
	Destroyed
)

var eventNames = [...]string{New: "NEW", Updated: "UPDATE", Destroyed: "DESTROY"}

func (k EventKind) String() string {
	if k < New || k > Destroyed {
		return "none"
	}
	return eventNames[k]
}

// MarshalText is String.
func (k EventKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what String prints.
func (k *EventKind) UnmarshalText(b []byte) error {
	for kind := New; kind <= Destroyed; kind++ {
		if eventNames[kind] == string(b) {
			*k = kind
			return nil
		}
	}
	return fmt.Errorf("event %q: want NEW, UPDATE or DESTROY", b)
}

// Event is what happened to a connection, with the connection as the event tells it: the state where that changed alone, no seconds at its end.
type Event struct {
	Kind EventKind `json:"event"`
	Entry
}

// String is a line of conntrack -E: "    [NEW] tcp      6 120 SYN_SENT src=... [UNREPLIED] src=... dport=40000".
func (e Event) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%9s ", "["+e.Kind.String()+"]")
	e.begin(&b, e.Kind != Destroyed || e.Seconds > 0)
	if e.Mark != 0 {
		fmt.Fprintf(&b, "mark=%d ", e.Mark)
	}
	e.zone(&b)
	return strings.TrimSuffix(b.String(), " ")
}
