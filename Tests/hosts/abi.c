/* The layout of every public struct, as version 0 of the library fixed it. A field that moves breaks every host that
 * was built before: this file may get longer, its lines never change. Compiling it is the test. */
#include <loragen.h>
#include <stddef.h>

#define SIZE(type, size) _Static_assert(sizeof(type) == (size), "size of " #type)
#define FIELD(type, field, offset) _Static_assert(offsetof(type, field) == (offset), "offset of " #type "." #field)

SIZE(loragen_status, 4);

SIZE(loragen_tensor, 40);
FIELD(loragen_tensor, name, 0);
FIELD(loragen_tensor, shape, 8);
FIELD(loragen_tensor, rank, 16);
FIELD(loragen_tensor, dtype, 20);
FIELD(loragen_tensor, data, 24);
FIELD(loragen_tensor, count, 32);

SIZE(loragen_module, 40);
FIELD(loragen_module, name, 0);
FIELD(loragen_module, layer, 8);
FIELD(loragen_module, rank, 12);
FIELD(loragen_module, inputs, 16);
FIELD(loragen_module, outputs, 24);
FIELD(loragen_module, alpha, 32);

SIZE(loragen_corpus_entry, 64);
FIELD(loragen_corpus_entry, path, 0);
FIELD(loragen_corpus_entry, task, 8);
FIELD(loragen_corpus_entry, run, 16);
FIELD(loragen_corpus_entry, text, 24);
FIELD(loragen_corpus_entry, bits, 32);
FIELD(loragen_corpus_entry, condition, 40);
FIELD(loragen_corpus_entry, condition_length, 48);
FIELD(loragen_corpus_entry, split, 56);

SIZE(loragen_progress, 72);
FIELD(loragen_progress, struct_size, 0);
FIELD(loragen_progress, stage, 8);
FIELD(loragen_progress, step, 16);
FIELD(loragen_progress, steps, 24);
FIELD(loragen_progress, loss, 32);
FIELD(loragen_progress, validation_skill, 40);
FIELD(loragen_progress, best_skill, 48);
FIELD(loragen_progress, steps_per_second, 56);
FIELD(loragen_progress, seconds_left, 64);

SIZE(loragen_training_options, 104);
FIELD(loragen_training_options, struct_size, 0);
FIELD(loragen_training_options, method, 8);
FIELD(loragen_training_options, preset, 16);
FIELD(loragen_training_options, settings, 24);
FIELD(loragen_training_options, seed, 32);
FIELD(loragen_training_options, memory_limit, 40);
FIELD(loragen_training_options, checkpoint, 48);
FIELD(loragen_training_options, checkpoint_seconds, 56);
FIELD(loragen_training_options, progress, 64);
FIELD(loragen_training_options, payload, 72);
FIELD(loragen_training_options, encoder, 80);
FIELD(loragen_training_options, image_encoder, 88);
FIELD(loragen_training_options, condition, 96);

SIZE(loragen_generator_info, 104);
FIELD(loragen_generator_info, struct_size, 0);
FIELD(loragen_generator_info, method, 8);
FIELD(loragen_generator_info, preset, 16);
FIELD(loragen_generator_info, base_model, 24);
FIELD(loragen_generator_info, condition_kind, 32);
FIELD(loragen_generator_info, condition_length, 40);
FIELD(loragen_generator_info, module_count, 48);
FIELD(loragen_generator_info, tensor_count, 56);
FIELD(loragen_generator_info, value_count, 64);
FIELD(loragen_generator_info, sampler, 72);
FIELD(loragen_generator_info, steps, 80);
FIELD(loragen_generator_info, guidance, 84);
FIELD(loragen_generator_info, hash, 88);
FIELD(loragen_generator_info, condition_count, 96);

SIZE(loragen_condition_info, 40);
FIELD(loragen_condition_info, struct_size, 0);
FIELD(loragen_condition_info, name, 8);
FIELD(loragen_condition_info, kind, 16);
FIELD(loragen_condition_info, length, 24);
FIELD(loragen_condition_info, encoder, 32);

SIZE(loragen_generator_options, 24);
FIELD(loragen_generator_options, struct_size, 0);
FIELD(loragen_generator_options, encoder, 8);
FIELD(loragen_generator_options, image_encoder, 16);

SIZE(loragen_condition, 32);
FIELD(loragen_condition, name, 0);
FIELD(loragen_condition, kind, 8);
FIELD(loragen_condition, data, 16);
FIELD(loragen_condition, size, 24);

SIZE(loragen_request, 104);
FIELD(loragen_request, struct_size, 0);
FIELD(loragen_request, condition, 8);
FIELD(loragen_request, condition_length, 16);
FIELD(loragen_request, bits, 24);
FIELD(loragen_request, seed, 32);
FIELD(loragen_request, samples, 40);
FIELD(loragen_request, steps, 44);
FIELD(loragen_request, guidance, 48);
FIELD(loragen_request, sampler, 56);
FIELD(loragen_request, progress, 64);
FIELD(loragen_request, payload, 72);
FIELD(loragen_request, basis, 80);
FIELD(loragen_request, conditions, 88);
FIELD(loragen_request, condition_count, 96);

SIZE(loragen_save_options, 48);
FIELD(loragen_save_options, struct_size, 0);
FIELD(loragen_save_options, dtype, 8);
FIELD(loragen_save_options, keep_alpha, 12);
FIELD(loragen_save_options, base, 16);
FIELD(loragen_save_options, naming, 24);
FIELD(loragen_save_options, portable, 28);
FIELD(loragen_save_options, layers, 32);
FIELD(loragen_save_options, model, 40);

SIZE(loragen_doctor_options, 32);
FIELD(loragen_doctor_options, struct_size, 0);
FIELD(loragen_doctor_options, memory_limit, 8);
FIELD(loragen_doctor_options, progress, 16);
FIELD(loragen_doctor_options, payload, 24);

SIZE(loragen_import_options, 56);
FIELD(loragen_import_options, struct_size, 0);
FIELD(loragen_import_options, seed, 8);
FIELD(loragen_import_options, group, 16);
FIELD(loragen_import_options, rank, 24);
FIELD(loragen_import_options, keep_checkpoints, 28);
FIELD(loragen_import_options, dry_run, 32);
FIELD(loragen_import_options, same_base, 40);
FIELD(loragen_import_options, same_base_count, 48);

SIZE(loragen_file_options, 40);
FIELD(loragen_file_options, struct_size, 0);
FIELD(loragen_file_options, format, 8);
FIELD(loragen_file_options, dtype, 12);
FIELD(loragen_file_options, keep_alpha, 16);
FIELD(loragen_file_options, sample, 20);
FIELD(loragen_file_options, memory_limit, 24);
FIELD(loragen_file_options, save, 32);

SIZE(loragen_convert_options, 48);
FIELD(loragen_convert_options, struct_size, 0);
FIELD(loragen_convert_options, save, 8);
FIELD(loragen_convert_options, lossy, 16);
FIELD(loragen_convert_options, note, 24);
FIELD(loragen_convert_options, payload, 32);
FIELD(loragen_convert_options, lora_only, 40);
FIELD(loragen_convert_options, rank, 44);

SIZE(loragen_apply_options, 64);
FIELD(loragen_apply_options, struct_size, 0);
FIELD(loragen_apply_options, mode, 8);
FIELD(loragen_apply_options, scale, 16);
FIELD(loragen_apply_options, base, 24);
FIELD(loragen_apply_options, note, 32);
FIELD(loragen_apply_options, payload, 40);
FIELD(loragen_apply_options, lora_only, 48);
FIELD(loragen_apply_options, basis, 56);

SIZE(loragen_basis_options, 96);
FIELD(loragen_basis_options, struct_size, 0);
FIELD(loragen_basis_options, method, 8);
FIELD(loragen_basis_options, rank, 16);
FIELD(loragen_basis_options, targets, 24);
FIELD(loragen_basis_options, prefix, 32);
FIELD(loragen_basis_options, tolerance, 40);
FIELD(loragen_basis_options, dtype, 48);
FIELD(loragen_basis_options, memory_limit, 56);
FIELD(loragen_basis_options, checkpoint, 64);
FIELD(loragen_basis_options, pivots, 72);
FIELD(loragen_basis_options, progress, 80);
FIELD(loragen_basis_options, payload, 88);

SIZE(loragen_expand_options, 32);
FIELD(loragen_expand_options, struct_size, 0);
FIELD(loragen_expand_options, rank, 8);
FIELD(loragen_expand_options, limit, 16);
FIELD(loragen_expand_options, save, 24);

SIZE(loragen_picture, 80);
FIELD(loragen_picture, struct_size, 0);
FIELD(loragen_picture, path, 8);
FIELD(loragen_picture, file, 16);
FIELD(loragen_picture, file_size, 24);
FIELD(loragen_picture, rgb, 32);
FIELD(loragen_picture, width, 40);
FIELD(loragen_picture, height, 48);
FIELD(loragen_picture, stride, 56);
FIELD(loragen_picture, as_stored, 64);
FIELD(loragen_picture, drop_alpha, 68);
FIELD(loragen_picture, pixel_limit, 72);

/* The numbers are part of the interface too. */
_Static_assert(LORAGEN_INTERNAL == 10 && LORAGEN_CANCELLED == 9 && LORAGEN_IO == 2, "statuses");
_Static_assert(LORAGEN_CONDITION_BITS == 2 && LORAGEN_SPLIT_TEST == 2 && LORAGEN_BFLOAT16 == 2, "kinds");
_Static_assert(LORAGEN_FORMAT_BY_SUFFIX == -1, "formats");
_Static_assert(LORAGEN_FORMAT_PEFT == 0 && LORAGEN_FORMAT_SAFETENSORS == 1 && LORAGEN_FORMAT_ONNX == 2, "formats");
_Static_assert(LORAGEN_FORMAT_DIFFUSERS == 3 && LORAGEN_FORMAT_KOHYA == 4 && LORAGEN_FORMAT_NPZ == 7, "formats");
_Static_assert(LORAGEN_FORMAT_GGUF == 5 && LORAGEN_FORMAT_ONNX_ADAPTER == 6 && LORAGEN_Q8_0 == 3, "formats");
_Static_assert(LORAGEN_APPLY_MERGE == 0 && LORAGEN_APPLY_REMOVE == 4 && LORAGEN_NAMING_PEFT == 1, "application");

int main(void) { return 0; }

SIZE(loragen_encoder_options, 16);
FIELD(loragen_encoder_options, struct_size, 0);
FIELD(loragen_encoder_options, tokenizer, 8);
