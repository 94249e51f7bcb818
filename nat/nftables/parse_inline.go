package nftables

import "strings"

// inline takes a chain that stands in its rule, as it is written: "jump { ... }".
func (p *parser) inline() Statement {
	var text strings.Builder
	text.WriteString(p.next().text + " {\n")
	p.want("{")
	for p.ends(); !p.take("}"); p.ends() {
		from, depth := p.at, 0
		for !p.over() && !p.is(newline) && (depth > 0 || !p.is("}")) {
			switch p.next().text {
			case "{":
				depth++
			case "}":
				depth--
			}
		}
		if p.over() || p.at == len(p.tokens)-1 {
			p.failf("a chain is not closed")
			break
		}
		text.WriteString("\t\t\t" + p.textFrom(from) + "\n")
	}
	text.WriteString("\t\t}")
	return Opaque{text.String()}
}
