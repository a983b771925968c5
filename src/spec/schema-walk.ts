import { z } from 'zod';
import type { Path } from './violation.ts';

/** The schema below defaults and optionals: what a written value is held against. */
export function bare(schema: z.core.$ZodType): z.core.$ZodType {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional) {
    return bare(schema.def.innerType);
  }
  return schema;
}

/** The schema of what stands at `path` under `schema`, through the first arm of a union that knows it. */
export function schemaAt(schema: z.core.$ZodType, path: Path): z.core.$ZodType | undefined {
  const [first, ...rest] = path;
  if (first === undefined) return schema;
  const here = bare(schema);
  for (const arm of unionArms(here)) {
    const found = schemaAt(arm, path);
    if (found) return found;
  }
  const next =
    here instanceof z.ZodObject
      ? ownField(here.def.shape, first)
      : here instanceof z.ZodArray
        ? here.def.element
        : here instanceof z.ZodRecord
          ? here.def.valueType
          : undefined;
  return next && schemaAt(next, rest);
}

/** A key named "constructor" is none of the schema's, although every object answers to it. */
const ownField = <T>(shape: Readonly<Record<string, T>>, key: string | number): T | undefined =>
  Object.hasOwn(shape, key) ? shape[key] : undefined;

/** The keys that a mapping of this schema may have; none for everything else. */
export function keysOf(schema: z.core.$ZodType | undefined): string[] {
  const here = schema && bare(schema);
  return here instanceof z.ZodObject ? Object.keys(here.def.shape) : [];
}

/** What a key is for, as the schema describes it. */
export function docOf(schema: z.core.$ZodType | undefined): string | undefined {
  if (!schema) return undefined;
  const inner = bare(schema);
  return z.globalRegistry.get(schema)?.description ?? z.globalRegistry.get(inner)?.description;
}

/** The arms of a union; none for everything else. */
export function unionArms(schema: z.core.$ZodType | undefined): readonly z.core.$ZodType[] {
  const here = schema && bare(schema);
  return here instanceof z.ZodUnion ? here.def.options : [];
}
