import Tensor

/// Something with parameters. `visit` names every parameter, buffer and part once, always in the same order; nothing
/// is found by reflection.
public protocol Module<Scalar>: AnyObject {
    associatedtype Scalar: Element
    func visit(_ visitor: ModuleVisitor<Scalar>)
}

/// A tensor that is stored with a module but not trained by gradients (running statistics).
public final class ModuleBuffer<E: Element>: @unchecked Sendable {
    public var value: Tensor<E>
    public init(_ value: Tensor<E>) { self.value = value }
}

/// A layer that works differently in training and in evaluation.
public protocol ModeDependent: AnyObject {
    var isTraining: Bool { get set }
}

/// Collects what a module names; names of parts are joined by dots.
public final class ModuleVisitor<E: Element> {
    public private(set) var parameters: [(name: String, parameter: Parameter<E>)] = []
    public private(set) var buffers: [(name: String, buffer: ModuleBuffer<E>)] = []
    /// The names of parameters that are used as factors of matrix products alone, `Linear` reads them so.
    public private(set) var factors: Set<String> = []
    public private(set) var modeDependents: [any ModeDependent] = []
    private var prefix = ""

    public init() {}

    public func parameter(_ name: String, _ parameter: Parameter<E>?) {
        if let parameter { parameters.append((prefix + name, parameter)) }
    }

    /// A parameter `[outputs, inputs]` that is used as the factor of a matrix product and not otherwise.
    public func factor(_ name: String, _ parameter: Parameter<E>) {
        factors.insert(prefix + name)
        self.parameter(name, parameter)
    }

    public func buffer(_ name: String, _ buffer: ModuleBuffer<E>) { buffers.append((prefix + name, buffer)) }

    public func mode(_ layer: any ModeDependent) { modeDependents.append(layer) }

    public func child<M: Module>(_ name: String, _ module: M?) where M.Scalar == E {
        guard let module else { return }
        let outer = prefix
        prefix += name + "."
        module.visit(self)
        prefix = outer
    }

    /// Parts named `name.0`, `name.1`, ...
    public func children<M: Module>(_ name: String, _ modules: [M]) where M.Scalar == E {
        for (i, module) in modules.enumerated() { child("\(name).\(i)", module) }
    }
}

extension Module {
    private func visited() -> ModuleVisitor<Scalar> {
        let visitor = ModuleVisitor<Scalar>()
        visit(visitor)
        return visitor
    }

    /// All parameters with their dotted names, in a fixed order.
    public var namedParameters: [(name: String, parameter: Parameter<Scalar>)] { visited().parameters }
    public var parameters: [Parameter<Scalar>] { namedParameters.map { $0.parameter } }
    public var namedBuffers: [(name: String, buffer: ModuleBuffer<Scalar>)] { visited().buffers }
    public var parameterCount: Int { parameters.reduce(0) { $0 + $1.value.count } }

    /// The parameters that may be factors in bf16, by name.
    public var namedFactors: [(name: String, parameter: Parameter<Scalar>)] {
        let visitor = visited()
        return visitor.parameters.filter { visitor.factors.contains($0.name) }
    }

    /// Training or evaluation, for every layer that makes a difference.
    public func setTraining(_ training: Bool) {
        for layer in visited().modeDependents { layer.isTraining = training }
    }

    /// Parameters and buffers as constants, for a file.
    public func namedTensors() -> [(name: String, tensor: Tensor<Scalar>)] {
        let visitor = visited()
        return visitor.parameters.map { ($0.name, $0.parameter.value) }
            + visitor.buffers.map { ($0.name, $0.buffer.value) }
    }

    /// Takes parameters and buffers from `find`. Throws `format` when a tensor is missing or has another shape; nothing
    /// is changed then.
    public func load(_ find: (_ name: String) throws(LoragenError) -> Tensor<Scalar>?) throws(LoragenError) {
        let visitor = visited()
        func checked(_ name: String, _ shape: [Int]) throws(LoragenError) -> Tensor<Scalar> {
            guard let tensor = try find(name) else { throw LoragenError(.format, "tensor \(name) is missing") }
            guard tensor.shape == shape else {
                throw LoragenError(.format, "tensor \(name) has shape \(tensor.shape), expected \(shape)")
            }
            return tensor.detached()
        }
        let values = try visitor.parameters.map { (entry) throws(LoragenError) in
            try checked(entry.name, entry.parameter.shape)
        }
        let states = try visitor.buffers.map { (entry) throws(LoragenError) in
            try checked(entry.name, entry.buffer.value.shape)
        }
        for (entry, value) in zip(visitor.parameters, values) { entry.parameter.value = value }
        for (entry, value) in zip(visitor.buffers, states) { entry.buffer.value = value }
    }
}
