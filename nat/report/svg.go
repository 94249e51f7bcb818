package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"natlab/nat/proof"
)

// SVG writes flows as one picture that needs nothing else: of each flow the mind map of the request and of the way back, as HTML has them,
// and its checks. Of a report of many flows it draws those that detail asks for. Its colours follow the reader's light or dark setting.
func SVG(w io.Writer, r proof.Report, detail Detail) error {
	return writePicture(w, headsOf(r), toldOf(r, detail))
}

func writePicture(w io.Writer, about heads, all []told) error {
	var flows []flowStory
	for _, t := range all {
		if t.drawn {
			flows, _ = withFlow(flows, t)
		}
	}
	return writeSVG(w, about, func(p *picture) {
		for i := range flows {
			flows[i].draw()
			p.flow(&flows[i])
		}
		if len(flows) == 0 {
			p.put("", "Every flow is proved, and no way was asked for.")
		}
	})
}

// writeSVG writes a picture with its heads, below which draw draws.
func writeSVG(w io.Writer, about heads, draw func(*picture)) error {
	p := picture{down: margin}
	p.put("title", about.Title)
	p.put("soft", about.Summary)
	for _, note := range about.Notes {
		p.put("soft", "note: "+note)
	}
	draw(&p)
	width, height := max(p.right, pageColumns*charWidth)+2*margin, p.down+margin
	_, err := fmt.Fprintf(w, svgHead, width, height, width, height, inXML(about.Title), inXML(about.Summary), width, height)
	if err == nil {
		_, err = io.WriteString(w, p.lines.String()+p.b.String()+"</svg>\n")
	}
	return err
}

// The picture's measures, in its own units. Each piece of text is told how long it is, so that it fits whatever font there is.
const (
	margin      = 20
	charWidth   = 7
	lineHeight  = 18
	runColumns  = 84  // how wide a way is drawn
	pageColumns = 110 // how wide everything else is
	gap         = 28  // between ways side by side
)

const svgHead = `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-labelledby="title about">
<title id="title">%s</title>
<desc id="about">%s</desc>
<style>
text { font: 11.63px ui-monospace, "DejaVu Sans Mono", monospace; white-space: pre; }
.title, .name, .node, .end, .new { font-weight: 700; }
.new { text-decoration: underline; }
.line { stroke-width: 2; fill: none; }
.level, .lease, .own { stroke-width: 1.5; fill: none; }
text { fill: #1b1f24; }
.soft { fill: #57606a; } .route { fill: #0b5d6b; } .did, .new { fill: #7a3b00; } .node, .end, .predicted, .dot { fill: #0a54b5; }
.proved, .passed { fill: #116329; } .disproved, .failed { fill: #b3151d; } .inconclusive { fill: #6b2fb3; } .paper { fill: #ffffff; } .box { fill: #eef1f5; } .line { stroke: #c4ccd6; }
.level { stroke: #0a54b5; } .lease { stroke: #7a3b00; } .own { stroke: #6b2fb3; }
@media (prefers-color-scheme: dark) {
text { fill: #e3e8ee; }
.soft { fill: #9aa6b2; } .route { fill: #7fd8e6; } .did, .new { fill: #ffd08a; } .node, .end, .predicted, .dot { fill: #7db4ff; }
.proved, .passed { fill: #6fdc8c; } .disproved, .failed { fill: #ff9a94; } .inconclusive { fill: #d0a8ff; } .paper { fill: #12161c; } .box { fill: #232c37; } .line { stroke: #3c4856; }
.level { stroke: #7db4ff; } .lease { stroke: #ffd08a; } .own { stroke: #d0a8ff; }
}
</style>
<rect class="paper" width="%d" height="%d"/>
`

// picture is one that is being drawn, from its top to its bottom.
type picture struct {
	lines strings.Builder // behind all else
	b     strings.Builder
	right int // how far to the right anything is
	down  int // where the next line begins
}

// span is a piece of a line.
type span struct{ class, text string }

// put writes a text of its own, folded.
func (p *picture) put(class, text string) {
	p.down += p.text(margin, p.down, pageColumns, span{class, text})
}

// flow draws a flow's story.
func (p *picture) flow(f *flowStory) {
	p.down += lineHeight
	p.put("name", f.Name)
	p.part("The request", f.Request)
	p.part("The way back", f.Reply)
	for _, w := range f.Ways {
		p.down += lineHeight / 2
		p.down += p.text(margin, p.down, pageColumns, span{w.Verdict.Word, w.Verdict.Mark + " " + w.Verdict.Word}, span{"", w.Title})
		for _, e := range w.Wrong {
			p.down += p.text(margin+2*charWidth, p.down, pageColumns, span{"soft", e.Label}, span{"", e.Text})
		}
		for _, c := range w.Checks {
			p.down += p.text(margin+2*charWidth, p.down, pageColumns, span{checkClass(c.Mark), c.Mark + " " + c.Name}, span{"soft", c.Detail})
		}
	}
}

// checkClass is the verdict that a check's mark stands for.
func checkClass(mark string) string {
	for _, o := range []proof.Outcome{proof.Proved, proof.Disproved} {
		if verdictMark(o) == mark {
			return o.String()
		}
	}
	return proof.Inconclusive.String()
}

// part draws one of the two mind maps below its heading.
func (p *picture) part(heading string, b *branch) {
	p.down += lineHeight / 2
	p.put("soft", heading)
	if len(b.Items)+len(b.Branches) == 0 {
		p.put("", "Nothing came back.")
		return
	}
	_, height := p.branch(b, margin, p.down)
	p.down += height
}

// branch draws a part of a mind map, and side by side below it the ways that part from there. It returns how much room it took.
func (p *picture) branch(b *branch, x, y int) (width, height int) {
	width = runColumns * charWidth
	top := y
	for _, i := range b.Items {
		at := y
		y += p.item(i, x+2*charWidth, y)
		fmt.Fprintf(&p.b, `<circle class="dot" cx="%d" cy="%d" r="3"/>`+"\n", x, at+lineHeight/2)
	}
	if y > top {
		p.stroke(x, top+lineHeight/2, x, y)
	}
	if len(b.Branches) == 0 {
		return width, y - top
	}
	fork, last, lowest := y+lineHeight/2, x, y
	p.stroke(x, y, x, fork)
	next := x
	for _, way := range b.Branches {
		w, h := p.branch(way, next, fork+lineHeight/2)
		p.stroke(next, fork, next, fork+lineHeight)
		last, lowest = next, max(lowest, fork+lineHeight/2+h)
		next += w + gap
	}
	p.stroke(x, fork, last, fork)
	return next - gap - x, lowest - top
}

func (p *picture) stroke(x1, y1, x2, y2 int) {
	fmt.Fprintf(&p.lines, `<path class="line" d="M%d %dL%d %d"/>`+"\n", x1, y1, x2, y2)
}

// item draws one thing, and returns how high it is.
func (p *picture) item(i item, x, y int) (height int) {
	width := runColumns - 2
	var line []span
	switch i.Kind {
	case "node":
		fmt.Fprintf(&p.b, `<rect class="box" x="%d" y="%d" width="%d" height="%d" rx="5"/>`+"\n", x-charWidth/2, y+1, width*charWidth, lineHeight-2)
		p.right = max(p.right, x+width*charWidth)
		line = []span{{"node", i.Text}, {"soft", i.Label}}
		if n := columns(i.Text + i.Label); n+1 > width { // the box has one line
			line = []span{{"node", i.Text}}
		}
	case "packet":
		c := i.Packet
		class := map[bool]string{true: "new"}
		line = []span{{"soft", c.Label}, {"", strings.TrimSpace(c.Proto)}, {class[c.SrcNew], c.Src}, {"", "→"}, {class[c.DstNew], c.Dst}}
		if c.Inside != "" {
			line = append(line, span{"soft", "inside " + c.Inside})
		}
	case "rule":
		line = []span{{"soft", i.Label}, {"", i.Place}, {"", i.Text}, {"soft", i.Match}}
	case "route":
		line = []span{{"route", "route " + i.Text}}
	default:
		line = []span{{i.Kind, i.Text}}
	}
	for _, did := range i.Did {
		line = append(line, span{"did", did})
	}
	height = p.text(x, y, width, line...)
	if i.Undone != "" {
		height += p.text(x+2*charWidth, y+height, width-2, span{"soft", i.Undone})
	}
	return height
}

// text writes pieces with a blank between, in lines of so many columns; those behind the first stand in by two. It returns how high it is.
func (p *picture) text(x, y, width int, pieces ...span) (height int) {
	at, line := 0, 0
	for _, piece := range pieces {
		for word := range strings.FieldsSeq(piece.text) {
			for _, part := range cut(word, width-2) {
				n := columns(part)
				if at > 0 && at+1+n > width {
					at, line = 2, line+1
				} else if at > 0 {
					at++
				}
				p.word(x+at*charWidth, y+line*lineHeight, piece.class, part, n)
				at += n
			}
		}
	}
	return (line + 1) * lineHeight
}

func (p *picture) word(x, y int, class, text string, n int) {
	fmt.Fprintf(&p.b, `<text x="%d" y="%d" textLength="%d" lengthAdjust="spacingAndGlyphs"`, x, y+13, n*charWidth)
	if class != "" {
		fmt.Fprintf(&p.b, ` class="%s"`, class)
	}
	fmt.Fprintf(&p.b, ">%s</text>\n", inXML(text))
	p.right = max(p.right, x+n*charWidth)
}

// cut are the parts of a word that is longer than a line.
func cut(word string, width int) (parts []string) {
	letters := []rune(word)
	for len(letters) > width {
		parts, letters = append(parts, string(letters[:width])), letters[width:]
	}
	return append(parts, string(letters))
}

// inXML is a text as it may stand in a document: no markup, and no character that XML has not.
func inXML(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}
