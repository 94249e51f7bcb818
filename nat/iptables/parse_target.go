package iptables

import "natlab/nat/xt"

// parseTarget reads -j NAME or -g NAME of a target that has no row, with its options, which go up to the end of the rule or
// the next -m.
func parseTarget(c *cursor, r *Rule) error {
	option, not := c.option()
	if not || r.Target != nil {
		return c.errorf("%s does not go here", option)
	}
	name, err := c.value(option)
	if err != nil {
		return err
	}
	if option == "-g" || option == "--goto" {
		r.Target = xt.Goto{Chain: name}
		return nil
	}
	t, plain := plainTargets[name]
	switch {
	case plain && c.hasArgument():
		return c.unexpected()
	case plain && c.endsTyped():
		r.Target = t
		return nil
	}
	start := c.at
	c.skipOptions()
	if options := c.verbatim(start); options != "" {
		r.Target = xt.RawTarget{Extension: name, Options: options}
	} else {
		r.Target = xt.Jump{Chain: name}
	}
	return nil
}
