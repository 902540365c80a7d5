package sandbox

import (
	"fmt"
	"strings"

	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// writable are the fields of a Service that a caller may set; the others are
// ignored in a request, as the real API does.
var writable = map[protoreflect.Name]bool{
	"description": true, "labels": true, "annotations": true, "client": true, "client_version": true,
	"ingress": true, "launch_stage": true, "binary_authorization": true, "template": true, "traffic": true,
	"scaling": true, "invoker_iam_disabled": true, "default_uri_disabled": true, "iap_enabled": true,
	"custom_audiences": true, "build_config": true,
}

// merge returns the service as the request wishes it. No paths, or "*", is a
// full replacement.
func merge(current, wish *runpb.Service, paths []string) (*runpb.Service, error) {
	next, from := proto.CloneOf(current), proto.CloneOf(wish)
	if len(paths) == 0 || (len(paths) == 1 && paths[0] == "*") {
		for name := range writable {
			copyField(next.ProtoReflect(), from.ProtoReflect(), name)
		}
		return next, nil
	}
	for _, path := range paths {
		if err := mergePath(next.ProtoReflect(), from.ProtoReflect(), path); err != nil {
			return nil, err
		}
	}
	return next, nil
}

func mergePath(dst, src protoreflect.Message, path string) error {
	parts := strings.Split(path, ".")
	for i, part := range parts {
		name := protoreflect.Name(part)
		field := dst.Descriptor().Fields().ByName(name)
		if field == nil {
			return fmt.Errorf("invalid field mask path %q", path)
		}
		if i == 0 && !writable[name] {
			return nil
		}
		if i == len(parts)-1 {
			copyField(dst, src, name)
			return nil
		}
		if field.Message() == nil || field.IsList() || field.IsMap() {
			return fmt.Errorf("field mask path %q goes into a repeated or scalar field", path)
		}
		dst, src = dst.Mutable(field).Message(), src.Get(field).Message()
	}
	return nil
}

func copyField(dst, src protoreflect.Message, name protoreflect.Name) {
	field := dst.Descriptor().Fields().ByName(name)
	if src.Has(field) {
		dst.Set(field, src.Get(field))
		return
	}
	dst.Clear(field)
}
