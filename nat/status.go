package nat

import "strings"

// Status is a connection's status bits (enum ip_conntrack_status, nf_conntrack_common.h).
type Status uint32

// The status bits that natlab predicts or compares.
const (
	Expected     Status = 1 << 0  // IPS_EXPECTED
	SeenReply    Status = 1 << 1  // IPS_SEEN_REPLY
	Assured      Status = 1 << 2  // IPS_ASSURED
	Confirmed    Status = 1 << 3  // IPS_CONFIRMED
	SrcNAT       Status = 1 << 4  // IPS_SRC_NAT
	DstNAT       Status = 1 << 5  // IPS_DST_NAT
	SeqAdjust    Status = 1 << 6  // IPS_SEQ_ADJUST
	SrcNATDone   Status = 1 << 7  // IPS_SRC_NAT_DONE
	DstNATDone   Status = 1 << 8  // IPS_DST_NAT_DONE
	Dying        Status = 1 << 9  // IPS_DYING
	FixedTimeout Status = 1 << 10 // IPS_FIXED_TIMEOUT
	Template     Status = 1 << 11 // IPS_TEMPLATE
	NATClash     Status = 1 << 12 // IPS_NAT_CLASH
)

var statusNames = [...]string{"EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED", "SRC_NAT", "DST_NAT", "SEQ_ADJUST", "SRC_NAT_DONE", "DST_NAT_DONE", "DYING", "FIXED_TIMEOUT", "TEMPLATE", "NAT_CLASH"}

// String lists the bits by the kernel's names, joined by "|"; no bit is "NONE".
func (s Status) String() string {
	var names []string
	for i, name := range statusNames {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "NONE"
	}
	return strings.Join(names, "|")
}

// MarshalText makes a status its String in JSON.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote; names it does not know are passed over.
func (s *Status) UnmarshalText(b []byte) error {
	*s = 0
	for word := range strings.SplitSeq(string(b), "|") {
		for i, name := range statusNames {
			if name == word {
				*s |= 1 << i
			}
		}
	}
	return nil
}
