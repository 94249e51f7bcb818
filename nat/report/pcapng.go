package report

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"natlab/nat"
	"natlab/nat/proof"
)

// Pcapng writes the packets of the flows as a capture (draft-ietf-opsawg-pcapng) that Wireshark and tcpdump read: an interface for
// each tap, the packets in the order in which they were seen, and as comments of each its flow, the rules that it met on its way to the
// tap, and the entry of connection tracking that it belongs to. The flows must have been watched with their packets kept.
func Pcapng(w io.Writer, r proof.Report) error {
	frames := framesOf(r)
	if len(frames) == 0 {
		return errors.New("no packet was kept: there is nothing to write")
	}
	first := tapInterface(frames[0].Hop)
	out, err := pcapgo.NewNgWriterInterface(w, first, pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{
		Application: "natlab", OS: "Linux", Comment: strings.TrimSpace(summary(r, Style{})),
	}})
	if err != nil {
		return err
	}
	ids := map[string]int{first.Name: 0}
	for _, f := range frames {
		tap := tapInterface(f.Hop)
		id, known := ids[tap.Name]
		if !known {
			if id, err = out.AddInterface(tap); err != nil {
				return err
			}
			ids[tap.Name] = id
		}
		info := gopacket.CaptureInfo{Timestamp: f.At, CaptureLength: len(f.Bytes), Length: max(len(f.Bytes), ipLength(f.Bytes)), InterfaceIndex: id}
		if err := out.WritePacketWithOptions(info, f.Bytes, pcapgo.NgPacketOptions{Comments: f.comments}); err != nil {
			return fmt.Errorf("packet %s: %w", f.Hop, err)
		}
	}
	return out.Flush()
}

// tapInterface is a tap as an interface of a capture: packets begin with their IP header there.
func tapInterface(h nat.Hop) pcapgo.NgInterface {
	return pcapgo.NgInterface{
		Name:        h.Node + " " + h.Tap.String(),
		Description: fmt.Sprintf("%s of %s, priority %d", h.Tap.Hook(), h.Node, h.Tap.Priority()),
		LinkType:    layers.LinkTypeRaw, TimestampResolution: 9,
	}
}

// ipLength is the length that an IP packet has by its header; 0 for what is none.
func ipLength(b []byte) int {
	switch {
	case len(b) >= 4 && b[0]>>4 == 4:
		return int(b[2])<<8 | int(b[3])
	case len(b) >= 6 && b[0]>>4 == 6:
		return 40 + int(b[4])<<8 | int(b[5])
	}
	return 0
}

// frame is a packet of a capture.
type frame struct {
	proof.Packet
	comments []string
}

// framesOf are the packets of all flows in the order in which they were seen.
func framesOf(r proof.Report) (all []frame) {
	for _, c := range r.Flows {
		paths := [2]map[nat.Hop][]string{nat.Original: rulePaths(c, nat.Original), nat.Reply: rulePaths(c, nat.Reply)}
		for _, p := range c.Packets {
			way := "request"
			if p.Direction == nat.Reply {
				way = "reply"
			}
			comments := []string{fmt.Sprintf("%s, %s: %s", title(c), way, strings.TrimSpace(hopLabel(p.Hop)))}
			if known := paths[p.Direction][p.Hop]; len(known) > 0 { // a packet that is seen twice at a tap met the rules once
				comments = append(comments, known...)
				delete(paths[p.Direction], p.Hop)
			}
			if p.Hop.Mark != 0 {
				comments = append(comments, fmt.Sprintf("mark %#x", p.Hop.Mark))
			}
			all = append(all, frame{Packet: p, comments: append(comments, entryComments(c, p.Hop)...)})
		}
	}
	slices.SortStableFunc(all, func(a, b frame) int { return cmp.Compare(a.Seq, b.Seq) })
	return all
}

// rulePaths are the rules that a packet met on its way to each tap, and behind the last tap of a namespace.
func rulePaths(c proof.Certificate, dir nat.Direction) map[nat.Hop][]string {
	out := map[nat.Hop][]string{}
	for _, s := range stopsOf(c, dir) {
		var path []string
		var last *nat.Hop
		for _, e := range s.events {
			switch {
			case e.step != nil && !uneventful(*e.step):
				path = append(path, met(*e.step))
			case e.hop != nil:
				if len(path) > 0 {
					out[*e.hop] = append(out[*e.hop], "met "+strings.Join(path, ", "))
				}
				path, last = nil, e.hop
			}
		}
		if last != nil && len(path) > 0 {
			out[*last] = append(out[*last], "then meets "+strings.Join(path, ", "))
		}
	}
	return out
}

// entryComments are the entries of a node's connection tracking that a packet belongs to.
func entryComments(c proof.Certificate, h nat.Hop) (out []string) {
	if h.Outer.IsValid() { // a tunnel's packet is another connection
		return nil
	}
	for _, e := range c.Conntrack {
		between := e.Original.WithDst(e.Reply.Src()) // behind the DNAT, before the SNAT
		is := slices.Contains([]nat.Tuple{e.Original, e.Reply, e.Reply.Reply(), e.Original.Reply(), between, between.Reply()}, h.Tuple)
		if e.Node == h.Node && is {
			out = append(out, fmt.Sprintf("entry %s, reply %s, %s", tuple(e.Original), tuple(e.Reply), e.Status))
		}
	}
	return out
}
