package memory

import (
	"net/netip"
	"reflect"
	"sync"
	"time"
)

// clone gives a copy that shares nothing with v that can be altered.
func clone[T any](v T) T {
	unshare(reflect.ValueOf(&v).Elem())
	return v
}

// unshare replaces whatever v refers to by copies.
func unshare(v reflect.Value) {
	if flat(v.Type()) {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			unshare(v.Field(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			unshare(v.Index(i))
		}
	case reflect.Pointer:
		unsharePointer(v)
	case reflect.Slice:
		unshareSlice(v)
	case reflect.Map:
		unshareMap(v)
	default: // an interface, a function, a channel: nothing that a row of a database could hold
		panic("memory: a row cannot hold a " + v.Type().String())
	}
}

func unsharePointer(v reflect.Value) {
	if v.IsNil() {
		return
	}
	own := reflect.New(v.Type().Elem())
	own.Elem().Set(v.Elem())
	unshare(own.Elem())
	v.Set(own)
}

func unshareSlice(v reflect.Value) {
	if v.IsNil() {
		return
	}
	own := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
	reflect.Copy(own, v)
	if !flat(v.Type().Elem()) {
		for i := range own.Len() {
			unshare(own.Index(i))
		}
	}
	v.Set(own)
}

func unshareMap(v reflect.Value) {
	if v.IsNil() {
		return
	}
	own := reflect.MakeMapWithSize(v.Type(), v.Len())
	for it := v.MapRange(); it.Next(); {
		value := reflect.New(v.Type().Elem()).Elem()
		value.Set(it.Value())
		unshare(value)
		own.SetMapIndex(it.Key(), value)
	}
	v.Set(own)
}

// flats remembers which types hold nothing that two copies could share.
var flats sync.Map // reflect.Type -> bool

func flat(t reflect.Type) bool {
	if known, ok := flats.Load(t); ok {
		return known == true
	}
	is := isFlat(t)
	flats.Store(t, is)
	return is
}

func isFlat(t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[time.Time](), reflect.TypeFor[netip.Prefix]():
		return true // what they refer to is never altered
	}
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if !flat(t.Field(i).Type) {
				return false
			}
		}
		return true
	case reflect.Array:
		return flat(t.Elem())
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface, reflect.Func, reflect.Chan, reflect.UnsafePointer:
		return false
	default:
		return true
	}
}
