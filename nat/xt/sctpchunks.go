package xt

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"natlab/nat/rules"
)

// holds asks for the chunks of a packet (match_packet). One whose chunks cannot be told apart is dropped.
func (c *SCTPChunks) holds(v *rules.Visit) rules.Answer {
	left := c.Types
	found := c.Match == OnlyChunks
walk:
	for kind, flags := range chunksOf(v.Wire.Transport()) {
		if kind < 0 {
			v.HotDrop = true
			return rules.No
		}
		fits := c.has(uint8(kind)) && c.flagsFit(uint8(kind), flags)
		switch {
		case c.Match == AnyChunk && fits:
			found = true
			break walk
		case c.Match == AllChunks && fits:
			left[kind/32] &^= 1 << (kind % 32)
		case c.Match == OnlyChunks && !fits:
			found = false
			break walk
		}
	}
	return rules.Is(found || c.Match == AllChunks && left == [8]uint32{}, c.Not)
}

func (c *SCTPChunks) flagsFit(kind, flags uint8) bool {
	i := slices.IndexFunc(c.Flags, func(f SCTPFlags) bool { return f.Type == kind })
	return i < 0 || flags&c.Flags[i].Mask == c.Flags[i].Set
}

// chunksOf yields the types and flags of a packet's chunks; a type of -1 for one that is cut short or without a length.
func chunksOf(h []byte) func(yield func(kind int, flags uint8) bool) {
	const common, chunk = 12, 4 // bytes of the headers
	return func(yield func(kind int, flags uint8) bool) {
		for h = h[min(common, len(h)):]; ; {
			if len(h) < chunk || binary.BigEndian.Uint16(h[2:]) == 0 {
				yield(-1, 0)
				return
			}
			length := (int(binary.BigEndian.Uint16(h[2:])) + 3) &^ 3
			if !yield(int(h[0]), h[1]) || length >= len(h) {
				return
			}
			h = h[length:]
		}
	}
}

// chunkNames are the types of a packet's chunks, in words.
func chunkNames(h []byte) string {
	var out []string
	for kind := range chunksOf(h) {
		switch name := chunkName(uint8(kind)); {
		case kind < 0:
			return strings.Join(append(out, "cut short"), ",")
		case name == "":
			out = append(out, fmt.Sprint(kind))
		default:
			out = append(out, name)
		}
	}
	return strings.Join(out, ",")
}
