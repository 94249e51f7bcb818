package conntrack

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"natlab/nat"
)

// savedWord begins what Saved adds to a line of conntrack -L.
const savedWord = " kept="

// Entry is a connection as conntrack -L prints it at a time.
func (c *Conn) Entry(now time.Time) nat.Entry {
	e := nat.Entry{
		Conn:    nat.Conn{Original: c.Original, Reply: c.Reply, Status: c.Status, Mark: c.Mark},
		Seconds: uint32(max(0, c.Expires().Sub(now)) / time.Second), State: c.State(), Zone: c.Zone.ID, Kind: c.kind, Code: c.code,
	}
	e.Packets, e.Bytes, e.Counted = c.Counters()
	if isICMP(c.Original.Proto()) {
		e.AnswerKind, _ = ICMPAnswer(c.Original.Proto(), c.kind)
	}
	return e
}

// kept is what a line of conntrack -L leaves out of a connection.
type kept struct {
	Status      nat.Status   `json:"status"`
	Expires     int64        `json:"expires"` // nanoseconds of the Unix time
	Stream      int64        `json:"stream,omitempty"`
	Out         string       `json:"out,omitempty"`
	NotOriginal bool         `json:"notOriginal,omitempty"` // of the zone
	NotReply    bool         `json:"notReply,omitempty"`
	TCP         *keptTCP     `json:"tcp,omitempty"`
	SCTP        *keptSCTP    `json:"sctp,omitempty"`
	DCCP        *keptDCCP    `json:"dccp,omitempty"`
	Labels      [2]uint64    `json:"labels,omitzero"`
	Policy      string       `json:"policy,omitempty"`
	Counted     bool         `json:"counted,omitempty"`
	Counts      [2][2]uint64 `json:"counts,omitzero"` // packets, then bytes
}

type keptTCP struct {
	Seen     [2]keptEnd    `json:"seen"`
	LastDir  nat.Direction `json:"lastDir"`
	Last     segmentKind   `json:"last"`
	Retrans  uint8         `json:"retrans"`
	LastWin  uint16        `json:"lastWin"`
	LastSeq  uint32        `json:"lastSeq"`
	LastAck  uint32        `json:"lastAck"`
	LastEnd  uint32        `json:"lastEnd"`
	Pending  tcpFlags      `json:"pending"`
	PendingS uint8         `json:"pendingScale"`
}

type keptEnd struct {
	End    uint32   `json:"end"`
	MaxEnd uint32   `json:"maxEnd"`
	MaxWin uint32   `json:"maxWin"`
	MaxAck uint32   `json:"maxAck"`
	Scale  uint8    `json:"scale"`
	Flags  tcpFlags `json:"flags"`
}

type keptSCTP struct {
	Tag           [2]uint32     `json:"tag"`
	Init          [2]bool       `json:"init"`
	LastDir       nat.Direction `json:"lastDir"`
	HeartbeatLost bool          `json:"heartbeatLost,omitempty"`
}

type keptDCCP struct {
	State     dccpState     `json:"state"`
	Role      [2]dccpRole   `json:"role"`
	Handshake uint64        `json:"handshake"`
	Last      uint8         `json:"last"`
	LastDir   nat.Direction `json:"lastDir"`
}

// Saved is a line that ReadSaved reads: what conntrack -L prints of a connection, and behind it as JSON what that leaves out.
func (c *Conn) Saved(now time.Time) string {
	k := kept{Status: c.Status, Expires: c.expires, Stream: c.stream, Out: c.Out, NotOriginal: c.Zone.NotOriginal, NotReply: c.Zone.NotReply}
	if c.Original.Proto() == nat.TCP {
		t := &c.tcp
		k.TCP = &keptTCP{
			LastDir: t.lastDir, Last: t.last, Retrans: t.retrans, LastWin: t.lastWin, LastSeq: t.lastSeq, LastAck: t.lastAck, LastEnd: t.lastEnd,
			Pending: t.pending, PendingS: t.pendingS,
		}
		for i, e := range t.seen {
			k.TCP.Seen[i] = keptEnd{e.end, e.maxEnd, e.maxWin, e.maxAck, e.scale, e.flags}
		}
	}
	if m := c.more; m != nil {
		k.Labels, k.Policy, k.Counted, k.Counts = m.labels, m.policy, m.counted, [2][2]uint64{m.packets, m.bytes}
		if c.Original.Proto() == nat.SCTP {
			k.SCTP = &keptSCTP{m.sctp.tag, m.sctp.init, m.sctp.lastDir, m.sctp.heartbeatLost}
		}
		if c.Original.Proto() == nat.DCCP {
			k.DCCP = &keptDCCP{m.dccp.state, m.dccp.role, m.dccp.handshake, m.dccp.last, m.dccp.lastDir}
		}
	}
	b, _ := json.Marshal(k) //nolint:errchkjson // it has numbers and strings alone
	return c.Entry(now).String() + savedWord + string(b)
}

// ReadSaved reads what Saved printed, a line each; empty lines and those that begin with # are passed over. They are as Restore takes them at that time: what has
// expired is left out. An error names the line.
func ReadSaved(text string, at time.Time) (all []Conn, err error) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		entry, more, ok := strings.Cut(line, savedWord)
		if !ok {
			return nil, fmt.Errorf("line %d: want a connection as natlab keeps it, with%s", number, savedWord)
		}
		read, err := ParseEntries(entry)
		if err == nil && len(read) != 1 {
			err = errors.New("want one entry")
		}
		var k kept
		if err == nil {
			err = json.Unmarshal([]byte(more), &k)
		}
		if err == nil {
			err = k.into(&read[0])
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if read[0].expires -= at.UnixNano(); read[0].expires > 0 {
			all = append(all, read[0])
		}
	}
	return all, nil
}

// into gives a connection that was read what its line left out.
func (k *kept) into(c *Conn) error {
	c.Status, c.expires, c.stream, c.Out = k.Status, k.Expires, k.Stream, k.Out
	c.Zone.NotOriginal, c.Zone.NotReply = k.NotOriginal, k.NotReply
	if t := k.TCP; t != nil {
		if t.Last > kindNone || t.Seen[0].Scale > 14 || t.Seen[1].Scale > 14 || t.PendingS > 14 {
			return errors.New("tcp: a kind of segment or a window scale that there is not")
		}
		state := c.tcp.state
		c.tcp = tcpConn{
			state: state, lastDir: t.LastDir, last: t.Last, retrans: t.Retrans, lastWin: t.LastWin, lastSeq: t.LastSeq, lastAck: t.LastAck, lastEnd: t.LastEnd,
			pending: t.Pending, pendingS: t.PendingS,
		}
		for i, e := range t.Seen {
			c.tcp.seen[i] = tcpEnd{e.End, e.MaxEnd, e.MaxWin, e.MaxAck, e.Scale, e.Flags}
		}
	}
	if s := k.SCTP; s != nil {
		m := c.extend()
		m.sctp.tag, m.sctp.init, m.sctp.lastDir, m.sctp.heartbeatLost = s.Tag, s.Init, s.LastDir, s.HeartbeatLost
	}
	if d := k.DCCP; d != nil {
		if d.State >= dccpStates || d.Role[0] > dccpServer || d.Role[1] > dccpServer {
			return errors.New("dccp: a state or a role that there is not")
		}
		c.extend().dccp = dccpConn{d.State, d.Role, d.Handshake, d.Last, d.LastDir}
	}
	c.SetLabels(k.Labels)
	if k.Policy != "" || k.Counted {
		m := c.extend()
		m.policy, m.counted, m.packets, m.bytes = k.Policy, k.Counted, k.Counts[0], k.Counts[1]
	}
	return nil
}

// ForgetWindow has conntrack learn the windows of a TCP connection anew from the next segment of each end, as of one that it picks up in its middle, but for
// their scales, and from then on take what is outside of them, too (IP_CT_TCP_FLAG_BE_LIBERAL, as conntrackd sets it): packets have passed that it did not see, and what
// acknowledges them would be outside.
func (c *Conn) ForgetWindow() {
	for i := range c.tcp.seen {
		e := &c.tcp.seen[i]
		*e = tcpEnd{scale: e.scale, flags: e.flags&^(tcpMaxAckSet|tcpUnackedData) | tcpBeLiberal}
	}
}
